"""What a finished run decided about a ticket, read back from its folder: no model is needed for that.

The line in `predictions.jsonl` names rows by their ids; here they are put in again, so that what was decided can be shown as
what is decided now, with the LM scores that only a language model could give.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from retrieval.intent_classifier import ScorerOutputs
from retrieval.prediction import Reply, Source
from retrieval.reference_numbers import for_ticket
from retrieval.retrieve import IntentScore, Neighbour, Retrieval
from retrieval.run_files import PREDICTIONS, ROWS, taxonomy_file
from retrieval.taxonomy import read_train_and_taxonomy
from retrieval.tickets import AS_NAMED, InputProblems, LabelledTicket, Ticket, read_rows

FIELDS = ("id", "ticket", "predicted_intent", "prediction", "source")
SCORERS = {scorer.name for scorer in fields(ScorerOutputs)}
NOT_SCORERS = ("intent", "probability", "lm_score")  # of an intent's entry; all else is a scorer's output


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """A line of predictions.jsonl."""

    line: Mapping[str, Any]  # as it stands there
    retrieval: Retrieval  # what retrieval said
    reply: Reply  # what the customer got; tokens and seconds are not recorded
    descriptions: Mapping[str, str]  # what the run's intents are about, by name


def recorded_answer(folder: Path, ticket_id: str) -> RecordedAnswer:
    """What the finished run in a folder, found whole (`saved_run`), decided about a ticket.

    Raises:
        InputProblems: the run answered no such ticket, or the folder is not as a run leaves it.
    """
    lines, problems = read_rows(folder / PREDICTIONS, FIELDS)
    rows, taxonomy, more = read_train_and_taxonomy(folder / ROWS, taxonomy_file(folder), columns=AS_NAMED)
    line = next((line for line in lines if line["id"] == ticket_id), None)
    if line is None and not problems:
        expected = f"expected one of the {len(lines)} that the run answered; with --val FILE others are looked at"
        problems = [f"--id {ticket_id}: found no such row in {folder / PREDICTIONS}, {expected}"]
    problems = [*problems, *more]
    if line is None or problems:
        raise InputProblems(problems)
    try:
        retrieval = _retrieval(line, {row.id: row for row in rows})
        reply = _reply(line)
        if not retrieval.intents or not retrieval.exemplars:
            raise ValueError(line)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        problem = f"{folder / PREDICTIONS}: found something else for {ticket_id}, expected a line as a run writes it"
        raise InputProblems([problem]) from error
    return RecordedAnswer(line, retrieval, reply, taxonomy.described if taxonomy else {})


def _retrieval(line: Mapping[str, Any], rows: Mapping[str, LabelledTicket]) -> Retrieval:
    """The inverse of `prediction.retrieval_record`, to five decimals."""
    ticket = Ticket(line["id"], line["ticket"])
    return Retrieval(
        ticket=ticket,
        intents=tuple(_intent_score(entry) for entry in line["intents"]),
        in_scope_score=line["in_scope_score"],
        in_scope_threshold=line["in_scope_threshold"],
        neighbours=tuple(_neighbour(entry, rows) for entry in line["neighbours"]),
        exemplars=tuple(for_ticket(rows[row_id], ticket.text) for row_id in line["exemplars"]),
        tied=for_ticket(rows[line["tied"]], ticket.text) if line["tied"] else None,
        composed=line["prediction"] if line["source"] == "composed" else "",
        intent_has_rows=line["intent_has_rows"],
    )


def _reply(line: Mapping[str, Any]) -> Reply:
    texts = [line["prediction"], line["draft"], *line["findings"]]
    if (
        line["source"] not in get_args(Source)
        or not isinstance(line["findings"], list)
        or not all(isinstance(t, str) for t in texts)
    ):
        raise ValueError(texts)
    return Reply(line["prediction"], line["source"], tuple(line["findings"]), line["draft"])


def _intent_score(entry: Mapping[str, Any]) -> IntentScore:
    scorers = {name: value for name, value in entry.items() if name not in NOT_SCORERS}
    if set(scorers) != SCORERS:
        raise ValueError(scorers)
    return IntentScore(entry["intent"], entry["probability"], scorers, entry.get("lm_score"))


def _neighbour(entry: Mapping[str, Any], rows: Mapping[str, LabelledTicket]) -> Neighbour:
    return Neighbour(
        row=rows[entry["id"]],
        cosine=entry["cosine"],
        vote_share=entry["vote_share"],
        reply_cosine=entry["reply_cosine"],
        bm25=entry["bm25"],
        exemplar_score=entry["exemplar_score"],
        shared_words=tuple(entry["shared_words"]),
    )
