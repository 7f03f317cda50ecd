"""The language model as run.py uses it: fitted once, then asked for intent scores and replies as far as its gates allow.

A base that cannot be fetched, loaded or trained here makes room for the next smaller candidate; under the last one lies
retrieval alone, which always answers. A base that was *named* and cannot be loaded is an error, for whoever named it does not
want another; one that loads and has too little memory to train leaves retrieval alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune.base_model import BaseModel, base_choice, cpu_runs_large, load_candidate
from finetune.base_selection import BaseCandidate, candidates
from finetune.distributed import Processes, start_processes
from finetune.fit import Deadlines, FineTuned, fine_tune
from finetune.lora import save_adapter
from finetune.memory import OutOfMemory, free_gpu_gib, release
from finetune.noisy_channel import NEAR_ROWS, NoisyChannel
from finetune.reply_writer import write_replies
from finetune.training_data import config_for
from retrieval.command_line import Settings
from retrieval.console import say
from retrieval.encoder import Encoder
from retrieval.errors import ModelUnavailable
from retrieval.gate import Gate
from retrieval.intent_classifier import IntentClassifier
from retrieval.prediction import Reply
from retrieval.progress import Group
from retrieval.retrieve import Retrieval
from retrieval.runtime import deterministic_kernels

# Shares of the time budget at which a stage is ended.
LOADING, SCORING, TRAINING, EVIDENCE, WRITING = 0.4, 0.5, 0.65, 0.8, 0.95
LARGE_ON_CPU_S = 900.0  # of time budget for a large base on a CPU: 30 rows and 50 tickets take up to 590 s, 711 with downloads
MIN_EXCHANGE_S = 600.0  # that another process may take to answer
COMPLETION_LOSS = "completion loss of {rows} rows, nats per token, prompts without the row's own reply: train rows, out-of-fold"


@dataclass(slots=True)
class LanguageModel:
    """A fine-tuned base, or the reasons why there is none."""

    base: BaseModel | None  # None for retrieval alone
    tuned: FineTuned | None  # the base's adapter and its gates; None without a base
    reasons: tuple[str, ...]  # why each candidate before the base was given up, a sentence each
    out_of_memory: bool  # whether memory ran out anywhere
    processes: Processes  # of the run
    deadline: float  # `time.monotonic()` at which answering ends
    cut_short: list[str] = field(default_factory=list)  # what ended answering early, a sentence each

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates of the language model."""
        return self.tuned.gates if self.tuned else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence each: bases that could not be used, and what happened while fine-tuning."""
        return (*self.reasons, *(self.tuned.warnings if self.tuned else ()))

    @property
    def left_out(self) -> tuple[Group, ...]:
        """The parts of answering that its gates leave out."""
        scores = () if self.tuned and self.tuned.lm_weight else (Group.SCORES,)
        return scores if self.tuned and self.tuned.generates else (*scores, Group.REPLIES)

    @property
    def has_adapter(self) -> bool:
        """Whether there is one to save."""
        return bool(self.tuned and self.tuned.model)

    def losses(self) -> tuple[tuple[float, float], str] | None:
        """The losses on train rows and out-of-fold, and what they are; None where they were not measured."""
        if self.tuned is None or (found := self.tuned.losses) is None:
            return None
        return (found.seen, found.unseen), COMPLETION_LOSS.format(rows=found.rows)

    def intent_scorer(self) -> NoisyChannel | None:
        """The scorer of the intents of rows near a ticket, None where its gate keeps it out."""
        if self.base is None or self.tuned is None or not self.tuned.lm_weight:
            return None
        tuned, model = self.tuned, self.tuned.model or self.base.model
        weight, given = tuned.lm_weight, tuned.lm_given
        return NoisyChannel(model, tuned.writer, weight, given, deadline=self.deadline, processes=self.processes)

    def write_replies(self, retrievals: Sequence[Retrieval]) -> list[Reply] | None:
        """Checked replies in the order of the tickets, None where the reply gate says copy."""
        if self.base is None or self.tuned is None or self.tuned.model is None or not self.tuned.generates:
            return None
        written = write_replies(
            retrievals,
            self.tuned.model,
            self.base,
            self.tuned.writer,
            max_new_tokens=self.tuned.max_new_tokens,
            exemplars=self.tuned.exemplars,
            deadline=self.deadline,
            processes=self.processes,
        )
        self.note(written.limits)
        return [written.replies[retrieval.ticket.id] for retrieval in retrievals]

    def note(self, limits: Sequence[str]) -> None:
        """Keeps what ended answering early, each sentence once."""
        self.cut_short += [limit for limit in dict.fromkeys(limits) if limit not in self.cut_short]

    def limits(self) -> tuple[str, ...]:
        """What cut the run short in a way that a second run may not repeat, a sentence each; empty for a deterministic run."""
        timed_out = ("the time budget cut the training or its measuring short",) if self.tuned and self.tuned.timed_out else ()
        short = ("memory ran out while loading or fine-tuning",) if self.out_of_memory else ()
        found = (*timed_out, *short, *self.cut_short)
        return (*found, "this run was limited by time or memory: a second run may answer otherwise") if found else ()

    def record(self) -> dict[str, Any]:
        """What run.json says about it: the base, where the same weights are, and how it was fine-tuned."""
        if self.base is None or self.tuned is None:
            return {"base": {"name": "none"}, "losses": [], "processes": self.processes.count}
        keys = ("name", "path", "source", "revision", "digest", "parameters", "max_length", "precision")
        run = self.tuned.run
        return {
            "base": {"choice": base_choice(self.base)} | {key: getattr(self.base, key) for key in keys},
            "losses": list(run.losses) if run else [],
            "memory_plan": asdict(run.plan) if run else None,
            "scale": self.tuned.scale,
            "lm_scores": {"weight": self.tuned.lm_weight, "given": self.tuned.lm_given, "near_rows": NEAR_ROWS},
            "replies": {
                "generated": self.tuned.generates,
                "max_new_tokens": self.tuned.max_new_tokens,
                "exemplars": self.tuned.exemplars,
            },
            "processes": self.processes.count,
        }

    def save(self, folder: Path) -> None:
        """Writes the adapter into an existing folder, if there is one."""
        if self.base and self.tuned and self.tuned.model:
            save_adapter(self.tuned.model, self.base, folder, scale=self.tuned.scale)


def fit_language_model(settings: Settings, classifier: IntentClassifier, encoder: Encoder) -> LanguageModel:
    """Fine-tunes the best base that can be loaded and trained here; `auto` may end without one, with the reasons.

    Raises:
        ModelUnavailable: a base that was named cannot be loaded, or the processes of the run have different encoders.
        WorkerLost: another process of the run is gone.
    """
    deterministic_kernels()
    # A short time budget does not make the other processes answer faster.
    processes = start_processes(timeout_s=max(MIN_EXCHANGE_S, settings.time_budget_s))
    if len(encoders := sorted({*processes.gather(encoder.name)})) > 1:  # one fell back: they would answer by different vectors
        cure = "fetch it on every machine with `python -m retrieval.model_files`, or name one with --encoder"
        raise ModelUnavailable(f"the processes of the run found different encoders, {' and '.join(encoders)}: {cure}")
    reasons, short = list[str](), False
    fast_cpu = all(processes.gather(cpu_runs_large())) and settings.time_budget_s >= LARGE_ON_CPU_S
    for candidate in candidates(settings.base_model, _least_free_gib(processes), fast_cpu=fast_cpu):
        try:
            return _fit_candidate(candidate, settings, classifier, encoder, processes=processes, reasons=reasons, short=short)
        except ModelUnavailable as error:
            reasons.append(str(error))
        except OutOfMemory as error:
            reasons.append(f"{candidate.label} was given up: {error}")
            short = True
        release()  # only here: inside of the except block the error still holds the model
    if settings.base_model != "auto" and not short:
        raise ModelUnavailable("; ".join(reasons))
    reasons[-1] = f"retrieval alone: {reasons[-1]}"
    return LanguageModel(None, None, tuple(reasons), short, processes, settings.deadline(WRITING))


def _fit_candidate(
    candidate: BaseCandidate,
    settings: Settings,
    classifier: IntentClassifier,
    encoder: Encoder,
    *,
    processes: Processes,
    reasons: Sequence[str],
    short: bool,
) -> LanguageModel:
    """Loads and fine-tunes one candidate; a function of its own, so that nothing holds a base that is given up.

    Raises:
        ModelUnavailable: it cannot be loaded in one of the processes.
        OutOfMemory: it cannot be trained here.
    """
    deadlines = Deadlines(*(settings.deadline(share) for share in (LOADING, SCORING, TRAINING, EVIDENCE)))
    base = load_everywhere(candidate, deadlines.loading, processes)
    say(f"fine-tune {base.name} ({base.precision}): score the train rows, train the adapter, measure both")
    config, seed = config_for(base), settings.seed
    tuned = fine_tune(classifier, base, encoder, config=config, seed=seed, deadlines=deadlines, processes=processes)
    short = short or tuned.memory_retries > 0
    return LanguageModel(base, tuned, tuple(reasons), short, processes, settings.deadline(WRITING))


def _least_free_gib(processes: Processes) -> float | None:
    """The free memory of the fullest GPU of the run."""
    free = [gib for gib in processes.gather(free_gpu_gib()) if gib is not None]
    return min(free, default=None)


def load_everywhere(candidate: BaseCandidate, deadline: float, processes: Processes) -> BaseModel:
    """The base in every process; the first of each machine goes first, for what it fetches or converts the others find.

    Raises:
        ModelUnavailable: one of the processes could not load it.
    """
    base, problem = None, ""
    for turn in (True, False):
        if (processes.local_index == 0) == turn and not problem:
            try:
                base = load_candidate(candidate, deadline=deadline)
            except ModelUnavailable as error:
                problem = str(error)
        problem = next(filter(None, processes.gather(problem)), "")
    if base is None or problem:
        raise ModelUnavailable(problem)
    return base
