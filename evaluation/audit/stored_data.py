"""Personal data in stored replies that are masked before a reply is used (`retrieval.masking`).

The data themselves are shown by their first and last two characters, because an audit is passed around.
"""

from evaluation.audit.evidence import Evidence
from evaluation.audit.findings import Finding, shown
from retrieval.masking import customers_data
from retrieval.personal_data import PersonalDatum
from retrieval.tickets import quoted

ENDS = 2  # characters


def personal_data_findings(found: Evidence) -> list[Finding]:
    """A finding for each stored reply with data that are not the support team's own."""
    return [_finding(found, i, data) for i, data in customers_data(found.rows).items()]


def _finding(found: Evidence, row: int, data: tuple[PersonalDatum, ...]) -> Finding:
    one, usable = found.rows[row], found.train_set.rows[row]
    kinds = ", ".join(dict.fromkeys(datum.kind for datum in data))
    where = "its ticket holds it too" if any(datum.stands_in(one.text) for datum in data) else "its ticket does not hold it"
    advice = "write the reply without it; what anybody may be told has to stand in the replies to two tickets"
    note = ", ".join(f"{datum.kind} {_hidden(datum.text)}" for datum in data)
    what = f"the stored reply of {quoted(one.id)} holds personal data ({kinds}; {where}) and is used with a gap"
    return Finding("personal data", what, advice, (shown(usable, note, reply=usable.ideal_reply),))


def _hidden(text: str) -> str:
    return f"{text[:ENDS]}…{text[-ENDS:]}"
