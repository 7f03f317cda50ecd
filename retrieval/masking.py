"""Customers' data in stored replies, masked: what was sent to one customer must not reach another.

Whatever personal data a stored reply holds is taken for the data of the customer who got it, whether or not that customer's own
ticket holds it too, and is masked before anything else sees the reply: index, prompts, training, copied and composed replies,
the weights folder, a remote model. What is the support team's own stays, word for word:

    - what stands in the replies to several tickets that do not name it themselves; a card number never does,
    - a mailbox of the product, `restore@product.example`: its domain is the one of a mailbox that most replies name,
    - a mailbox named after a role, `billing@...`, and a toll-free phone number, if no customer who got the reply named it.

Masking instead of taking another row: the rest of the reply is still the best answer, and a gap in it is seen. Rows are masked
once, as they come from the user: what a run has stored tells less about whose a mailbox is, and more would be masked.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from retrieval.facts import URL
from retrieval.personal_data import Kind, PersonalDatum, compact_form, emails, personal_data, registered_domain
from retrieval.tickets import LabelledTicket, normalised, quoted

SEVERAL = 2  # replies to different tickets
MAX_NAMED = 5  # rows, in a warning
# Mailboxes named after a role: RFC 2142, and what support teams use besides.
ROLES = re.compile(
    r"abuse|accounting|accounts|admin|billing|careers|compliance|contact|customercare|customerservice|dpo|feedback|"
    r"finance|git|hello|help|helpdesk|hostmaster|hr|info|invoices|jobs|legal|mail|marketing|no-reply|noc|noreply|"
    r"office|orders|postmaster|press|privacy|sales|security|service|services|support|team|webmaster"
)
# Of the many who share these domains no two need have anything to do with each other.
SHARED_DOMAINS = re.compile(
    r"(?:gmail|googlemail|outlook|hotmail|live|msn|yahoo|ymail|icloud|me|mac|aol|gmx|web|mail|proton|protonmail|pm|yandex|qq|163|"
    r"126|t-online|freenet|orange|free|laposte|libero|comcast|verizon|att|btinternet|zoho|fastmail|hey|tutanota)(?:\.[a-z]+)+"
)
PERSONAL_NAME = re.compile(r"[._\d]")  # in front of the @ of a colleague's address

TOLL_FREE = re.compile(r"(?:1?8(?:00|33|44|55|66|77|88)|080[08]|00800)\d{6,8}")


def customers_data(rows: Sequence[LabelledTicket]) -> dict[int, tuple[PersonalDatum, ...]]:
    """By position of a row, what its stored reply holds that is not the support team's own; rows without any are left out."""
    held = {i: data for i, row in enumerate(rows) if (data := personal_data(row.ideal_reply))}
    if not held:
        return {}
    own = _of_the_team(rows, held)
    foreign = {i: tuple(datum for datum in data if (datum.kind, datum.key) not in own) for i, data in held.items()}
    return {i: data for i, data in foreign.items() if data}


def masked(rows: Sequence[LabelledTicket]) -> tuple[LabelledTicket, ...]:
    """The rows, customers' data in their stored replies masked; a row without any is the same object."""
    foreign = customers_data(rows)
    return tuple(
        replace(row, ideal_reply=_masked(row.ideal_reply, foreign[i])) if i in foreign else row for i, row in enumerate(rows)
    )


def masking_warnings(rows: Sequence[LabelledTicket]) -> list[str]:
    """A sentence about what `masked` changes, without the data; none if it changes nothing."""
    foreign = customers_data(rows)
    if not foreign:
        return []
    counts = Counter(datum.kind for data in foreign.values() for datum in data)
    what = ", ".join(f"{number} {kind}{_plural(kind, number)}" for kind, number in sorted(counts.items()))
    named = ", ".join(quoted(rows[i].id) for i in list(foreign)[:MAX_NAMED]) + (", ..." if len(foreign) > MAX_NAMED else "")
    return [f"personal data in the stored replies of {named}: {what}; masked, because they may be a customer's"]


def _plural(kind: Kind, number: int) -> str:
    return "" if number == 1 else "es" if kind.endswith("s") else "s"


def _masked(reply: str, data: Sequence[PersonalDatum]) -> str:
    for datum in reversed(data):  # from the end, so that the positions before it still hold
        reply = reply[: datum.start] + f"[{datum.kind}]" + reply[datum.start + len(datum.text) :]
    return reply


def _of_the_team(rows: Sequence[LabelledTicket], held: dict[int, tuple[PersonalDatum, ...]]) -> set[tuple[Kind, str]]:
    """Kind and key of what the support team may say to everybody."""
    unnamed: defaultdict[tuple[Kind, str], set[str]] = defaultdict(set)  # tickets that do not name it, and got it
    named: set[tuple[Kind, str]] = set()
    known: dict[tuple[Kind, str], PersonalDatum] = {}
    for i, data in held.items():
        for datum in data:
            key = datum.kind, datum.key
            known[key] = datum
            if datum.stands_in(rows[i].text):
                named.add(key)
            else:
                unnamed[key].add(normalised(rows[i].text))
    product = _product_domain(rows)
    return {
        key
        for key, datum in known.items()
        if datum.kind != "card number"
        and (len(unnamed[key]) >= SEVERAL or _is_mailbox_of(product, datum) or (key not in named and _is_nobodys(datum)))
    }


def _product_domain(rows: Sequence[LabelledTicket]) -> str:
    """The domain of a mailbox that most stored replies name to customers who did not; empty if no domain leads."""
    tickets: defaultdict[str, set[str]] = defaultdict(set)
    mail_domains: set[str] = set()
    for row in rows:
        of_mailboxes = {datum.domain for datum in emails(row.ideal_reply)}
        mail_domains |= of_mailboxes
        hosts = (re.sub(r"^https?://|[/:?#].*", "", url) for url in URL.findall(row.ideal_reply))
        for domain in of_mailboxes | set(map(registered_domain, hosts)):
            if domain not in row.text.casefold():
                tickets[domain].add(normalised(row.text))
    counts = Counter({d: len(tickets[d]) for d in sorted(mail_domains) if not SHARED_DOMAINS.fullmatch(d)})
    leading = [*counts.most_common(2), ("", 0), ("", 0)]
    return leading[0][0] if leading[0][1] >= SEVERAL and leading[0][1] > leading[1][1] else ""


def _is_mailbox_of(product: str, datum: PersonalDatum) -> bool:
    return bool(product) and datum.domain == product and not PERSONAL_NAME.search(datum.text.partition("@")[0])


def _is_nobodys(datum: PersonalDatum) -> bool:
    """Whether it is the address of a role or a toll-free number."""
    if datum.kind == "e-mail address":
        return bool(ROLES.fullmatch(datum.text.partition("@")[0].casefold()))
    return datum.kind == "phone number" and bool(TOLL_FREE.fullmatch(compact_form(datum.text)))
