"""A finished run as a page. What stands where says the template, which escapes everything but the page's style and script."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from evaluation.command import MissingPackage
from evaluation.report.charts import confidence_chart, loss_chart, map_chart
from evaluation.score.grading import RowScore, Tally, score_rows, tally
from evaluation.score.labels import Label
from evaluation.score.results import result_rows
from evaluation.score.tables import confusions, intent_counts, rows_by_kind
from retrieval.console import UNSURE
from retrieval.cross_validation import INTENT_LOSS
from retrieval.encoder import Encoder
from retrieval.map import MOST_LINES, MapPoint
from retrieval.train_set import TrainSet
from retrieval.train_set_files import RunSettings

PAGE = Path(__file__).parent / "page"
MOST_PAIRS = 1_000_000  # of words that are compared; with repeated words the time grows with the cube of the length


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run left."""

    train_set: TrainSet
    settings: RunSettings  # of its retrieval
    record: dict[str, Any]  # run.json
    rows: list[dict[str, Any]]  # predictions.jsonl, in the order of the input


@dataclass(frozen=True, slots=True)
class KindOfRows:
    """The labelled rows of one kind: ordinary rows, or probes."""

    figures: Tally
    intents: dict[str, dict[str, float]]  # for each expected intent: rows, correct, quality
    confusions: list[tuple[str, str, int]]  # expected, predicted, how often


def render(run: FinishedRun, labels: Mapping[str, Label], encoder: Encoder, grading: Encoder) -> str:
    """The page; raises MissingPackage or NoPlots where a package for it is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
    except ImportError as error:
        raise MissingPackage("the report", "jinja2") from error
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, trim_blocks=True)
    style, script = (Markup((PAGE / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    scores = _scores(run, labels, grading)
    return environment.get_template("report.html").render(
        style=style,
        script=script,
        run=run,
        record=run.record,
        sources=sorted(Counter(row["source"] for row in run.rows).items()),
        train_rows={row.id: row for row in run.train_set.rows},
        unsure=UNSURE,
        most_lines=MOST_LINES,
        completion_loss=run.record["training"]["loss"] != INTENT_LOSS,
        charts=_charts(run, encoder),
        scores=scores,
        kinds=_kinds(list(scores.values())),
        differences={row_id: difference(score.reply, score.ideal_reply) for row_id, score in scores.items()},
    )


def _scores(run: FinishedRun, labels: Mapping[str, Label], grading: Encoder) -> dict[str, RowScore]:
    """The score of every row that has a label."""
    known = {row["id"]: labels[row["id"]] for row in run.rows if row["id"] in labels}
    return {row.id: row for row in score_rows(result_rows({"predictions": run.rows}), known, grading)} if known else {}


def _kinds(scores: list[RowScore]) -> dict[str, KindOfRows]:
    """Ordinary rows and probes apart; a kind without rows is left out."""
    return {kind: KindOfRows(tally(own), intent_counts(own), confusions(own)) for kind, own in rows_by_kind(scores).items()}


def _charts(run: FinishedRun, encoder: Encoder) -> dict[str, str]:
    """The out-of-fold loss joins the training curve only where both are completion losses."""
    vectors = encoder.encode([row["ticket"] for row in run.rows])
    points = [
        MapPoint(row["id"], row["predicted_intent"], vector, tuple(near["id"] for near in row["neighbours"][:3]))
        for row, vector in zip(run.rows, vectors, strict=True)
    ]
    losses, training = run.record["losses"], run.record["training"]
    out_of_fold = None if training["loss"] == INTENT_LOSS else training["val_loss"]
    return {
        "losses": loss_chart(losses, out_of_fold) if losses else "",
        "confidence": confidence_chart([row["confidence"] for row in run.rows], unsure=UNSURE),
        "map": map_chart(run.train_set, points),
    }


def difference(reply: str, ideal: str) -> list[tuple[str, str]]:
    """Pieces of words that both hold ("same"), that only the reply or only the ideal one holds, in reading order."""
    left, right = reply.split(), ideal.split()
    if len(left) * len(right) > MOST_PAIRS:
        return [("reply", " ".join(left)), ("ideal", " ".join(right))]
    found: list[tuple[str, str]] = []
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        pieces = [("same", left[a:b])] if tag == "equal" else [("reply", left[a:b]), ("ideal", right[c:d])]
        found += [(kind, " ".join(words)) for kind, words in pieces if words]
    return found
