"""Reference numbers in stored replies: an order or invoice number is that of the customer who got the reply.

A stored reply often repeats the number that its own ticket names. Given to another customer it would name a foreign order, in a
copy as in a prompt. So a stored reply that answers a ticket holds that ticket's number instead, or a gap that is seen where the
ticket names none or several. On public tickets that is one copied reply in twelve, and over all copied replies recall and
precision of the facts rise by .017 and .016 (`python -m evaluation.benchmarks.stored_replies`, EXPERIMENTS.md).

Taken for a customer's are long numbers that ticket and reply of a row both hold, right behind a word such as "order" or
"invoice number", or a #, in one of them. Error codes, prices and quantities stay; shorter numbers and those within an address
are not seen.
"""

import re
from dataclasses import replace

from retrieval.personal_data import personal_data
from retrieval.tickets import LabelledTicket

GAP = "[reference number]"
DIGITS = 5  # at least so many: shorter numbers count things
CONTEXT = 40  # characters before a number
NUMBER = re.compile(
    rf"""
    (?<![A-Z\d_.,:@/$€£+#-])\#?            # lower-case letters may be glued to it: order113542
    ( (?:[A-Z]{{1,6}}-?)?                   # INV-20931
      (?=(?:[A-Z-]*\d){{{DIGITS}}})
      \d (?:[\dA-Z-]*[\dA-Z])? )
    (?! [\w@] | [.,:/-]\d | \s?[$€£%] | \s?(?i:dollar|euro|pound|usd|eur|gbp) )    # an address, a version, an amount
    """,
    re.VERBOSE,
)
DATE = re.compile(r"(?:19|20)\d\d-?[01]\d-?[0-3]\d")
QUANTITY = re.compile(r"[1-9]\d{0,3}000")  # 10000 rows
NAMED = re.compile(
    r"""
    (?<!\bto[ ])                            # "to order 12500 seats" names no order
    (?: (?:order|purchase|invoice|bill|receipt|ticket|case|claim|reference|ref|tracking|shipment|parcel|package|booking|
           reservation)s?
        (?:\W{0,3}\b(?:number|nummer|no|nr|num|id|code)\b (?:\W{1,3}(?:is|was)\b)? )?
    |   (?:return|refund|payment|transaction|subscription|contract)\W{0,3}\b(?:number|nummer|no|nr|num|id)\b
    )
    \W{0,3}$
    """,
    re.IGNORECASE | re.VERBOSE,
)
SIGN_OF_OTHERS = re.compile(r"(?:error|issue|bug|code|colou?r|theme|build|version)\W{0,3}$", re.IGNORECASE)  # error #80070005


def reference_numbers(text: str) -> tuple[str, ...]:
    """The different numbers of a text that name an order, an invoice or the like, in its order."""
    return tuple(dict.fromkeys(match[1] for match in _numbers(text) if _is_named(match, text)))


def for_ticket(row: LabelledTicket, ticket: str) -> LabelledTicket:
    """The row as it may be shown to whoever wrote `ticket`: the reply with their reference number, not another customer's.

    A row whose reply holds no number of its own ticket, or only the numbers of `ticket`, is the same object.
    """
    customers = _customers(row)
    own = reference_numbers(ticket) if customers else ()
    foreign = customers - set(map(str.casefold, own))
    if not foreign:
        return row
    number = own[0] if len(own) == len(customers) == 1 else ""

    def written(match: re.Match[str]) -> str:
        if match[1].casefold() not in foreign:
            return match[0]
        return match[0].replace(match[1], number) if number else GAP

    return replace(row, ideal_reply=NUMBER.sub(written, row.ideal_reply))


def _customers(row: LabelledTicket) -> set[str]:
    """The numbers, without regard to case, that stand in ticket and reply and are named in one of them."""
    asked, answered = ({match[1].casefold() for match in NUMBER.finditer(text)} for text in (row.text, row.ideal_reply))
    in_both = asked & answered
    named = (*reference_numbers(row.text), *reference_numbers(row.ideal_reply)) if in_both else ()
    return in_both & set(map(str.casefold, named))


def _numbers(text: str) -> list[re.Match[str]]:
    """The long numbers of a text that are no dates or quantities and do not say how to reach or charge somebody."""
    personal = [(datum.start, datum.start + len(datum.text)) for datum in personal_data(text)]
    return [
        match
        for match in NUMBER.finditer(text)
        if not (DATE.fullmatch(match[1]) or QUANTITY.fullmatch(match[1]))
        and not any(start < match.end() and match.start() < end for start, end in personal)
    ]


def _is_named(match: re.Match[str], text: str) -> bool:
    before = text[max(0, match.start() - CONTEXT) : match.start()]
    return bool(NAMED.search(before)) or (match[0].startswith("#") and not SIGN_OF_OTHERS.search(before))
