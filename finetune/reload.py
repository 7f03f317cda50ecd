"""The language model of a finished run, as far as its gates let it answer.

Where replies are copied and intents are not scored, the base has no say, and nothing of it is loaded. The adapter's weights are
put on a fresh adapter of the same shape: no config of the folder is obeyed, and its scale is the one in the record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.base_selection import BaseCandidate
from retrieval.errors import ModelUnavailable
from retrieval.run_files import RECORD
from retrieval.saved_run import SavedRun
from retrieval.tickets import InputProblems

if TYPE_CHECKING:
    from finetune.base_model import BaseModel
    from finetune.language_model import LanguageModel
    from finetune.noisy_channel import Given

PRECISIONS = ("fp32", "bf16", "nf4")
GIVEN = {"name", "reply"}  # what LM intent scores may be given (`noisy_channel.Given`)


@dataclass(frozen=True, slots=True)
class Answering:
    """How the language model of a run answers."""

    base: BaseCandidate  # what loads the same base
    digest: str  # of its weights
    max_length: int  # tokens that prompt and reply may take together
    scale: float  # of the adapter
    generates: bool  # whether new tickets get generated replies
    max_new_tokens: int  # most tokens of a reply
    exemplars: int  # most of them in a prompt
    lm_given: tuple["Given", ...]  # what the base is given for the LM intent scores


def answering_of(run: SavedRun) -> Answering | None:
    """How the language model of a run answers; None where it does not.

    Raises:
        InputProblems: the run asked a remote model, or its record is another's.
    """
    try:
        used = [gate["name"] for gate in run.record["gates"] if gate["passed"] and gate["name"].startswith("remote ")]
        if used:
            raise InputProblems([_remote(run, used)])
        replies = run.record.get("replies", {"generated": False})
        return _answering(run) if replies["generated"] or run.lm_weight else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        problem = f"{run.folder / RECORD}: found something else, expected the record of a finished run"
        raise InputProblems([problem]) from error


def load_language_model(
    run: SavedRun, how: Answering, *, descriptions: Mapping[str, str], loaded_by: float, answered_by: float
) -> "LanguageModel":
    """Loads base and, if it writes replies, adapter.

    Args:
        run: whose.
        how: the run's language model answers.
        descriptions: of the intents, as its prompts said them.
        loaded_by: `time.monotonic()` at which a download ends.
        answered_by: `time.monotonic()` at which answering ends.

    Raises:
        ModelUnavailable: the base cannot be had or loaded here, or it is not the one that the run trained.
        WorkerLost: another process of the run is gone.
    """
    from finetune.distributed import start_processes
    from finetune.fit import FineTuned
    from finetune.language_model import MIN_EXCHANGE_S, LanguageModel, load_everywhere
    from finetune.lora import load_adapter
    from finetune.prompt import prompt_writer
    from retrieval.runtime import deterministic_kernels

    source = Path(how.base.source)
    if source.is_absolute() and not source.exists():
        raise ModelUnavailable(f"the base model of the run in {run.folder} is gone: found no {source}")
    deterministic_kernels()
    processes = start_processes(timeout_s=MIN_EXCHANGE_S)
    base = replace(_same_base(load_everywhere(how.base, loaded_by, processes), run, how), max_length=how.max_length)
    tuned = FineTuned(
        model=load_adapter(base, run.folder, scale=how.scale) if how.generates else None,
        writer=prompt_writer(base.tokenizer, base.max_length, descriptions=descriptions),
        max_new_tokens=how.max_new_tokens,
        exemplars=how.exemplars,
        scale=how.scale,
        lm_weight=run.lm_weight,
        lm_given=how.lm_given,
        generates=how.generates,
    )
    return LanguageModel(base, tuned, (), False, processes, answered_by)


def _same_base(base: "BaseModel", run: SavedRun, how: Answering) -> "BaseModel":
    if base.digest != how.digest:
        expected = f"the one that the run in {run.folder} trained: {how.digest}"
        raise ModelUnavailable(f"the base model {base.name} has the digest {base.digest}, expected {expected}")
    if base.max_length < how.max_length:
        raise ModelUnavailable(f"the base model {base.name} takes {base.max_length} tokens here, the run used {how.max_length}")
    return base


def _answering(run: SavedRun) -> Answering:
    base, replies = run.record["base"], run.record["replies"]
    source, precision = str(base["choice"]), base["precision"]
    given = tuple(run.record["lm_scores"]["given"])
    if precision not in PRECISIONS or not given or not set(given) <= GIVEN:
        raise ValueError(precision, given)
    on_hub = base["source"] in ("hub", "hub cache") and "@" in source
    source, revision = source.rsplit("@", 1) if on_hub else (source, None)
    return Answering(
        base=BaseCandidate(source, revision, precision),
        digest=str(base["digest"]),
        max_length=int(base["max_length"]),
        scale=float(run.record["scale"]),
        generates=bool(replies["generated"]),
        max_new_tokens=int(replies["max_new_tokens"]),
        exemplars=int(replies["exemplars"]),
        lm_given=given,
    )


def _remote(run: SavedRun, used: list[str]) -> str:
    named = f"a run that used {' and '.join(used)} of {run.record['remote']['model']}"
    return f"{run.folder}: found {named}, which is not asked again; expected a run without: train without --remote-model"
