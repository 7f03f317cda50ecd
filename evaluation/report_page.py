"""A finished run as a page: what stands where.

The template escapes everything; only the page's own style and script are let through as they are.

What it does not know: files.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from evaluation.charts import confidence_chart, loss_chart, map_chart
from evaluation.grading import Prediction, RowScore, score_rows
from evaluation.labels import Label
from evaluation.report_data import FinishedRun
from retrieval.encoder import Encoder
from retrieval.map import MOST_LINES, Placed
from retrieval.tickets import LabelledTicket

PAGE = Path(__file__).parent / "page"
SCORES = {"cosine": "cosine", "reply_cosine": "reply", "bm25": "BM25", "exemplar_score": "exemplar_score"}
VIEWS = ("probability", "regression", "neighbours", "replies", "lexical")


class NoTemplates(Exception):
    """jinja2 is not installed; the message says how to get it."""


def render(run: FinishedRun, labels: Mapping[str, Label], encoder: Encoder) -> str:
    """The page.

    Raises:
        NoPlots: matplotlib is missing.
        NoTemplates: jinja2 is missing.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
    except ImportError as error:
        raise NoTemplates("the report needs jinja2, found none: pip install -r requirements-dev.txt") from error
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, trim_blocks=False)
    style, script = (Markup((PAGE / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    scores = _scores(run, labels, encoder)
    page = {
        "title": "Thirty Tickets: report of a run",
        "subtitle": f"{len(run.rows)} tickets answered from {len(run.train_set.rows)} rows, {len(run.train_set.intents)} intents",
        "facts": _facts(run),
        "warnings": run.record["warnings"],
        "gates": [_gate(gate) for gate in run.record["gates"]],
        **_charts(run, encoder),
        "labelled": bool(scores),
        "confusion": _confusion(list(scores.values()), len(run.rows)) if scores else None,
        "scores": list(SCORES.values()),
        "scorers": VIEWS,
        "rows": _rows(run, labels, scores),
    }
    return environment.get_template("report.html").render(page=page, style=style, script=script)


def _scores(run: FinishedRun, labels: Mapping[str, Label], encoder: Encoder) -> dict[str, RowScore]:
    """The score of every row that has a label."""
    known = {row["id"]: labels[row["id"]] for row in run.rows if row["id"] in labels}
    answers = {row["id"]: Prediction(row["predicted_intent"], row["prediction"]) for row in run.rows}
    return {row.id: row for row in score_rows(answers, known, encoder)} if known else {}


def _facts(run: FinishedRun) -> list[tuple[str, str]]:
    record, training = run.record, run.record["training"]
    sources = Counter(row["source"] for row in run.rows)
    return [
        ("base", str(record["base"]["name"])),
        ("training", f"{training['steps']} steps, loss {training['train_loss']:.3f}, held out {training['val_loss']:.3f}"),
        ("replies", ", ".join(f"{count} {source}" for source, count in sorted(sources.items()))),
        ("out_of_scope", f"{sum(row['out_of_scope'] for row in run.rows)} tickets resemble no intent"),
        ("time", f"{record['wall_clock_s']:.0f} s in all"),
        ("seed", str(run.settings.seed)),
        ("deterministic", "yes" if record["deterministic"] else "no: the time budget cut it short"),
    ]


def _gate(gate: Mapping[str, Any]) -> dict[str, str]:
    evidence = "" if gate["evidence"] is None else f"{gate['evidence']:+.3f}"
    if gate["interval"]:
        evidence += " ({:+.3f} .. {:+.3f})".format(*gate["interval"])
    return {"name": gate["name"], "decision": gate["decision"], "evidence": evidence, "n": str(gate["n"]), "why": gate["why"]}


def _charts(run: FinishedRun, encoder: Encoder) -> dict[str, str]:
    losses = run.record["losses"]
    vectors = encoder.encode([row["ticket"] for row in run.rows])
    placed = [
        Placed(row["id"], row["predicted_intent"], vector, tuple(near["id"] for near in row["neighbours"][:3]))
        for row, vector in zip(run.rows, vectors, strict=True)
    ]
    trained = "Loss of the final adapter. The held-out loss is measured once, on rows that its adapters had not seen."
    lines = "" if len(placed) <= MOST_LINES else f" Lines are left out beyond {MOST_LINES} tickets."
    return {
        "losses": loss_chart(losses, run.record["training"]["val_loss"]) if losses else "",
        "losses_caption": trained if losses else "No language model was trained in this run.",
        "confidence": confidence_chart([row["confidence"] for row in run.rows]),
        "map": map_chart(run.train_set, placed),
        "map_caption": f"What lies close together is alike; distances between groups mean little.{lines}",
    }


def _confusion(scores: Sequence[RowScore], answered: int) -> dict[str, Any]:
    groups: dict[str, list[RowScore]] = defaultdict(list)
    for row in scores:
        groups[row.expected].append(row)
    lines = []
    for intent, own in sorted(groups.items()):
        taken = Counter(row.intent for row in own if not row.intent_right)
        wrong = ", ".join(f"{name} ({count})" for name, count in sorted(taken.items()))
        lines.append({"intent": intent, "rows": len(own), "right": sum(row.intent_right for row in own), "wrong": wrong})
    right = sum(row.intent_right for row in scores)
    unlabelled = f" {answered - len(scores)} rows have no label." if answered > len(scores) else ""
    return {"summary": f"{right} of {len(scores)} intents are right.{unlabelled}", "lines": lines}


def _rows(run: FinishedRun, labels: Mapping[str, Label], scores: Mapping[str, RowScore]) -> list[dict[str, Any]]:
    train_set = {row.id: row for row in run.train_set.rows}
    return [_row(row, train_set) | _judged(row, labels.get(row["id"]), scores.get(row["id"])) for row in run.rows]


def _row(row: Mapping[str, Any], train_set: Mapping[str, LabelledTicket]) -> dict[str, Any]:
    return {
        **{key: row[key] for key in ("id", "ticket", "confidence", "in_scope_score", "out_of_scope", "prediction", "source")},
        "intent": row["predicted_intent"],
        "findings": row["findings"],
        "draft": row["draft"],
        "neighbours": [_neighbour(near, train_set) for near in row["neighbours"]],
        "intent_scores": [
            {"intent": score["intent"], "scores": [score[scorer] for scorer in VIEWS]} for score in row["intent_scores"]
        ],
        "exemplars": [{"id": i, "intent": train_set[i].intent, "reply": train_set[i].ideal_reply} for i in row["exemplars"]],
    }


def _neighbour(near: Mapping[str, Any], train_set: Mapping[str, LabelledTicket]) -> dict[str, Any]:
    scores = [near.get(name, "") for name in SCORES]  # a run of an older release has fewer
    return {"id": near["id"], "intent": near["intent"], "text": train_set[near["id"]].text, "scores": scores}


def _judged(row: Mapping[str, Any], label: Label | None, score: RowScore | None) -> dict[str, Any]:
    if label is None or score is None:
        return {"right": None, "quality": "", "expected": "", "difference": [], "missing": "", "wrong": ""}
    return {
        "right": score.intent_right,
        "quality": round(score.quality, 4),
        "expected": score.expected,
        "difference": difference(row["prediction"], label.ideal_reply),
        "missing": "; ".join(" | ".join(group) for group in score.missing),
        "wrong": "; ".join(score.wrong_facts),
    }


def difference(ours: str, ideal: str) -> list[dict[str, str]]:
    """Runs of words that both have, that only we have, that only the ideal reply has, in reading order."""
    left, right = ours.split(), ideal.split()
    found: list[dict[str, str]] = []
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            found.append({"kind": "same", "text": " ".join(left[a:b])})
            continue
        pieces = (("ours", left[a:b]), ("ideal", right[c:d]))
        found += [{"kind": kind, "text": " ".join(words)} for kind, words in pieces if words]
    return found
