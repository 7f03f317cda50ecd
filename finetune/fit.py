"""Fine-tuning from beginning to end: train, measure, decide.

First the bare base scores the intents of the train rows, and a gate decides whether its scores join the classifier: they can
be worth more than all that follows. Then the final adapter is trained, for it is a result of its own, the forgetting check sets
its scale, two fold adapters give the evidence, and a gate decides whether new tickets get generated replies. How much is
learned follows from the rows, the base and the device alone; a deadline ends a stage early on a slow machine, and such a run
says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from peft import PeftModel

from finetune.base_model import BaseModel
from finetune.distributed import SINGLE_PROCESS, Processes
from finetune.evidence import Setup, own_row_scores
from finetune.gates import Decision, lm_scores_gate, lm_scores_gate_untested, reply_gate_untested
from finetune.judging import Judgement, Losses, judge, not_worth_testing
from finetune.lora import attach
from finetune.memory import memory_guard, release
from finetune.noisy_channel import Given, NoisyChannel, scoring_for
from finetune.prompt import PromptWriter, prompt_writer
from finetune.reply_writer import max_reply_tokens
from finetune.training import NoAdapter, TrainingRun, train
from finetune.training_data import TrainingConfig, TrainingData, judging_examples, make_training_data
from retrieval.console import leave_out
from retrieval.cross_validation import out_of_fold_log_probabilities, refit
from retrieval.encoder import Encoder
from retrieval.gate import Gate
from retrieval.intent_classifier import IntentClassifier
from retrieval.lm_fusion import fuse
from retrieval.progress import Group
from retrieval.tickets import quoted
from retrieval.train_set import Rows, representative_rows

MAX_TRAINING_ROWS = 120  # on a CPU: four passes over them (two of the folds) fit into the budget on two cores
MAX_TRAINING_ROWS_GPU = 400


@dataclass(frozen=True, slots=True)
class Deadlines:
    """`time.monotonic()` at which a stage stops."""

    loading: float  # the download of the base
    scoring: float  # the LM scores of the train rows
    training: float  # of the final adapter
    evidence: float  # the measuring


NO_DEADLINES = Deadlines(inf, inf, inf, inf)


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A base with its adapter, and what is known about it."""

    model: PeftModel | None  # the base through its adapter; None if training came to nothing
    writer: PromptWriter  # of its prompts
    max_new_tokens: int  # most tokens of a reply
    exemplars: int  # most of them in a prompt
    lm_weight: float  # of the LM intent scores; 0 if they are not used
    lm_given: tuple[Given, ...]  # what the base is given for them
    scale: float = 0.0  # of the adapter
    generates: bool = False  # whether new tickets get generated replies
    run: TrainingRun | None = None  # of the final adapter; None where none was trained here
    losses: Losses | None = None  # None where one of them could not be measured
    gates: tuple[Gate, ...] = ()  # all gates of the language model
    warnings: tuple[str, ...] = ()  # a sentence each
    timed_out: bool = False  # whether a deadline decided anything
    memory_retries: int = 0  # how often memory ran out and a smaller way of working took over


def fine_tune(
    classifier: IntentClassifier,
    base: BaseModel,
    encoder: Encoder,
    *,
    config: TrainingConfig,
    seed: int,
    deadlines: Deadlines = NO_DEADLINES,
    processes: Processes = SINGLE_PROCESS,
) -> FineTuned:
    """Trains and judges an adapter.

    Args:
        classifier: fitted on all rows.
        base: without an adapter.
        encoder: measures how near a reply is to the ideal one.
        config: of the training.
        seed: of everything random.
        deadlines: for slow machines.
        processes: that share the work.

    Raises:
        OutOfMemory: the base cannot be trained here.
    """
    chosen = training_rows(classifier, base)
    setup = make_setup(classifier, chosen, base, config, seed=seed, processes=processes)
    if untested := not_worth_testing(setup):
        leave_out(Group.MEASURING)
    setup, scores = with_lm_scores(setup, deadlines.scoring)
    data = make_training_data(setup.classifier, setup.log_p, setup.writer, config, seed=seed)
    found = _before_training(setup, scores, _data_warnings(data, len(classifier.train_set.rows)))
    try:
        model, run = final_adapter(setup, data, deadlines.training)
    except NoAdapter as error:
        return _without_adapter(found, error)
    try:
        judgement = judge(setup, model, run, encoder, untested=untested, deadline=deadlines.evidence)
    except BaseException:
        model.unload()
        raise
    return _judged(found, model, run, judgement)


def _before_training(setup: Setup, scores: Decision, warnings: Sequence[str]) -> FineTuned:
    """What is known when the bare base has scored the train rows."""
    not_tested = [f"LM intent scores were not tested: {scores.problem}"] if scores.problem else []
    return FineTuned(
        model=None,
        writer=setup.writer,
        max_new_tokens=setup.max_new_tokens,
        exemplars=setup.config.exemplars,
        lm_weight=scores.value,
        lm_given=setup.scoring.given,
        gates=(scores.gate,),
        warnings=(*not_tested, *warnings),
        timed_out=scores.timed_out,
        memory_retries=int(scores.out_of_memory),
    )


def with_lm_scores(setup: Setup, deadline: float) -> tuple[Setup, Decision]:
    """Scores the train rows with the bare base and decides; the rows that were scored then have fused probabilities."""
    base, scoring, train_set = setup.base, setup.scoring, setup.classifier.train_set
    if not scoring.weight.value:
        used, gate = lm_scores_gate_untested("given replies alone, scores of a base of this size gained nothing on public sets")
        return setup, Decision(used, gate)
    label, processes = "LM intent scores of the train rows", setup.processes
    scorer = NoisyChannel(
        base.model,
        setup.writer,
        scoring.weight.value,
        scoring.given,
        deadline=deadline,
        label=label,
        processes=processes,
    )
    scores = own_row_scores(setup, scorer)
    problem = "memory ran out while scoring the train rows" if scorer.without_memory else ""
    problem = "the time budget ended the scoring of the train rows" if scorer.timed_out else problem
    if problem:
        used, gate = lm_scores_gate_untested(problem)
    else:
        own = lm_scores_gate(setup.log_p, scores, train_set.labels, scoring.weight, seed=setup.seed)
        used, gate = processes.first(own)
    found = Decision(used, gate, problem, scorer.timed_out, scorer.without_memory > 0)
    return replace(setup, answer_log_p=fuse(setup.log_p, scores, used)), found


def make_setup(
    classifier: IntentClassifier, rows: Rows, base: BaseModel, config: TrainingConfig, *, seed: int, processes: Processes
) -> Setup:
    """What all training on these rows has in common."""
    every_row = len(rows) == len(classifier.train_set.rows)
    trained = classifier if every_row else refit(classifier, classifier.train_set.subset(rows))
    log_p = out_of_fold_log_probabilities(trained)
    writer = prompt_writer(base.tokenizer, base.max_length, descriptions=trained.train_set.descriptions)
    return Setup(
        classifier=trained,
        log_p=log_p,
        answer_log_p=log_p,
        base=base,
        scoring=scoring_for(base, with_names=trained.with_names),
        writer=writer,
        config=config,
        max_new_tokens=max_reply_tokens(writer, trained.train_set.rows),
        examples=judging_examples(trained, log_p, writer, config),
        seed=seed,
        processes=processes,
    )


def training_rows(classifier: IntentClassifier, base: BaseModel) -> Rows:
    """(k,) the rows that the adapter learns from: as many as the device can take."""
    most = MAX_TRAINING_ROWS_GPU if base.model.device.type == "cuda" else MAX_TRAINING_ROWS
    return representative_rows(classifier.train_set, at_most=most)


def _data_warnings(data: TrainingData, rows: int) -> list[str]:
    long = ", ".join(quoted(row_id) for row_id in data.too_long)
    used = len(data.epochs[0]) + len(data.too_long)
    found = [f"rows that cannot be written as a prompt, so not learned from: {long}"] if long else []
    return [*found, f"the adapter learns from {used} of {rows} rows, retrieval from all"] if used < rows else found


def final_adapter(setup: Setup, data: TrainingData, deadline: float) -> tuple[PeftModel, TrainingRun]:
    """The adapter that learns from all rows.

    Raises:
        NoAdapter: training came to nothing.
        OutOfMemory: it does not fit.
    """
    if not data.epochs[0]:
        raise NoAdapter("no row is short enough to learn from")
    with memory_guard("the adapter", setup.processes):
        model = attach(setup.base, seed=setup.seed)
    try:
        run = train(
            model,
            data.epochs,
            learning_rate=setup.config.learning_rate,
            seed=setup.seed,
            deadline=deadline,
            label="train the adapter",
            processes=setup.processes,
            prompt_gradient=setup.config.prompt_gradient,
        )
    except BaseException:
        model.unload()
        raise
    release()
    return model, run


def _without_adapter(found: FineTuned, error: NoAdapter) -> FineTuned:
    """The same without an adapter, for this reason."""
    return replace(
        found,
        gates=(*found.gates, reply_gate_untested(f"no adapter: {error}")),
        warnings=(*found.warnings, f"no adapter was kept: {error}"),
        timed_out=error.timed_out or found.timed_out,
    )


def _judged(found: FineTuned, model: PeftModel, run: TrainingRun, judgement: Judgement) -> FineTuned:
    """The same with the adapter, its scale, and the decision whether it writes replies."""
    return replace(
        found,
        model=model,
        run=run,
        losses=judgement.losses,
        scale=judgement.scale.value,
        generates=judgement.replies.passed,
        gates=(*found.gates, judgement.scale.gate, judgement.replies),
        warnings=(*found.warnings, *_run_warnings(run, judgement.memory_retries), *judgement.problems),
        timed_out=found.timed_out or not run.finished or judgement.timed_out,
        memory_retries=found.memory_retries + run.memory_retries + judgement.memory_retries,
    )


def _run_warnings(run: TrainingRun, measuring: int) -> Iterator[str]:
    """What happened while training, and while measuring, where memory ran out so many times."""
    if run.diverged:
        yield f"training diverged ({run.diverged}): the adapter of step {run.steps} is kept"
    if run.memory_retries:
        yield f"memory ran out while training: the adapter was trained with {run.plan}"
    if measuring:
        yield f"memory ran out while measuring, {measuring} times: what is missing is named at its gate"
