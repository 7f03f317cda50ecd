"""Answers tickets: `SupportModel`, what a service uses and what run.py itself answers with.

    from finetune.support_model import SupportModel
    from retrieval.tickets import Ticket

    model = SupportModel.load(Path("out"))
    for found in model.answer([Ticket("v-1", "do guests need a seat?")]):
        print(found.retrieval.intent, found.retrieval.confidence, found.reply.text)

A run that has finished is loaded in seconds and answers as it did when it had trained. The language model is loaded only where
the run's gates let it score intents or write replies. One thread at a time may use a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.reload import answering_of
from retrieval.console import Clock, Verbosity, display, expect, leave_out, say_more
from retrieval.progress import plan_of_answers
from retrieval.saved_run import SavedRun, checked_run, find_run, load_encoder_of, reading
from retrieval.tickets import InputProblems, Ticket

if TYPE_CHECKING:
    from finetune.language_model import LanguageModel
    from finetune.remote.remote_model import RemoteModel
    from retrieval.encoder import Encoder, Vectors
    from retrieval.intent_classifier import IntentClassifier
    from retrieval.prediction import Prediction, Reply
    from retrieval.retrieve import Retrieval


@dataclass(frozen=True, slots=True)
class SupportModel:
    """Everything that answers a ticket."""

    encoder: "Encoder"  # of tickets, and of the sentences that replies are composed of
    classifier: "IntentClassifier"  # fitted on the train set
    language_model: "LanguageModel | None" = None  # as far as its gates let it answer; None for retrieval alone
    remote: "RemoteModel | None" = None  # of the run itself; one that is loaded again has none
    run: SavedRun | None = None  # that it was loaded from

    @staticmethod
    def load(folder: Path, *, loaded_by: float = inf, answered_by: float = inf, verbose: bool = False) -> "SupportModel":
        """The model of a finished run; sets the threads of this process and silences the libraries, as run.py does.

        Args:
            folder: that run.py got as --weights.
            loaded_by: `time.monotonic()` at which the download of a model ends.
            answered_by: `time.monotonic()` after which replies are copied.
            verbose: lets the libraries print their warnings.

        Raises:
            InputProblems: the folder holds no finished run of this version, or one whose files were changed.
            ModelUnavailable: the run's encoder or base cannot be had or loaded here, or it has other weights.
            WorkerLost: another process of the run is gone.
            OSError: the folder cannot be read.
        """
        with reading(folder):
            run = checked_run(folder)
            how = answering_of(run)
            from retrieval.runtime import configure

            configure(verbose=verbose)
            from retrieval.classifier_files import load_classifier

            encoder = load_encoder_of(run, deadline=loaded_by)
            say_more(f"encoder {encoder.name} ({encoder.files.source}): {encoder.files.path}")
            classifier = load_classifier(folder, run.encoder_name)
            model = None
            if how:
                from finetune.reload import load_language_model

                descriptions = classifier.train_set.descriptions
                model = load_language_model(run, how, descriptions=descriptions, loaded_by=loaded_by, answered_by=answered_by)
        return SupportModel(encoder, classifier, model, None, run)

    def answer(self, tickets: Sequence[Ticket], *, clock: Clock | None = None) -> "tuple[Prediction, ...]":
        """Classifies and answers m tickets, in their order.

        Args:
            tickets: with unique ids.
            clock: of the run, which says what is being done; without one nothing is printed.

        Raises:
            ValueError: two tickets have one id.
            WorkerLost: another process of the run is gone.
            MemoryError: a batch of texts does not fit.
        """
        if len({ticket.id for ticket in tickets}) < len(tickets):
            raise ValueError("found two tickets with one id, expected an id for each")
        if not tickets:
            return ()
        if clock:
            return self._answer(tickets, clock)
        with display(verbosity=Verbosity.QUIET):
            return self._answer(tickets, Clock())

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says of the run that it was loaded from; nothing where it was not loaded."""
        return dict(self.run.record) if self.run else {}

    def limits(self) -> tuple[str, ...]:
        """What time or memory cut short so far, a sentence each."""
        return self.language_model.limits() if self.language_model else ()

    def _answer(self, tickets: Sequence[Ticket], clock: Clock) -> "tuple[Prediction, ...]":
        from retrieval.compose import with_composed_replies
        from retrieval.prediction import predictions

        with clock.stage("embed", "embed the tickets"):
            vectors = self.encoder.encode([ticket.text for ticket in tickets])
        with clock.stage("answer", "classify the tickets, choose exemplars, answer"):
            found = with_composed_replies(self._retrieve(tickets, vectors), vectors, self.encoder)
            replies = self._replies_to(found, vectors)
        return predictions(found, replies, seconds=clock.seconds["embed"] + clock.seconds["answer"])

    def _retrieve(self, tickets: Sequence[Ticket], vectors: "Vectors") -> "tuple[Retrieval, ...]":
        from retrieval.retrieve import retrieve

        scorer = self.language_model.intent_scorer() if self.language_model else None
        if self.remote:
            found = self.remote.retrieve(tickets, vectors, local=scorer)
        else:
            found = retrieve(self.classifier, tickets, vectors, lm_scorer=scorer)
        if self.language_model and scorer:
            self.language_model.note(scorer.limits)
        return found

    def _replies_to(self, found: "Sequence[Retrieval]", vectors: "Vectors") -> "tuple[Reply, ...]":
        """The replies of the remote model where its gate lets it write, the local ones for the rest."""
        written = self.remote.write_replies(found) if self.remote else {}
        rest = [i for i, one in enumerate(found) if one.ticket.id not in written]
        local = self._local_replies([found[i] for i in rest], vectors[rest]) if rest else []
        written |= {found[i].ticket.id: reply for i, reply in zip(rest, local, strict=True)}
        return tuple(written[one.ticket.id] for one in found)

    def _local_replies(self, found: "Sequence[Retrieval]", vectors: "Vectors") -> "list[Reply]":
        """The language model's replies where they are nearer to the ticket than the stored ones, if its gate lets it write."""
        from retrieval.prediction import copy_reply

        drafted = self.language_model.write_replies(found) if self.language_model else None
        if drafted is None:
            return [copy_reply(one) for one in found]
        from finetune.reply_choice import choose_replies

        return choose_replies(found, drafted, vectors, self.classifier.train_set, self.encoder)


def run_problems(folder: Path) -> list[str]:
    """Why the run in a folder cannot be loaded, as far as its files say, a sentence each; nothing is loaded for that."""
    run, problems = find_run(folder)
    try:
        if run:
            answering_of(run)
    except InputProblems as error:
        problems = [*error.problems]
    return problems


def expect_answers(model: SupportModel, tickets: Sequence[Ticket]) -> None:
    """From now on the display shows how far answering is."""
    expect(plan_of_answers(len(tickets), model=model.language_model is not None))
    if model.language_model:
        leave_out(*model.language_model.left_out)
