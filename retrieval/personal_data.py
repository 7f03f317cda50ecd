"""Personal data in a text: e-mail addresses, and phone, card and account numbers.

A form is asked for where digits alone could be anything: the check sum of a card number or an IBAN, the shape of a phone
number, or a word before it ("phone", "account number"). So order, ticket and version numbers, dates and prices are none. Names,
postal addresses and what is spelt out ("jane at ...") are not seen.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["e-mail address", "phone number", "card number", "account number"]

PHONE_KEY = 8  # last digits by which +49 171 ... and 0171 ... are one
PHONE_DIGITS = (7, 15)  # at most 15: ITU-T E.164
WORTH_A_LOOK = re.compile(r"@|(?:\d\D{0,3}){6}")

EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]+@((?:[\w-]+\.)+[^\W\d_]{2,})\b")  # not package@1.2.3
SECOND_LEVEL = re.compile(r"(?:ac|co|com|edu|gov|net|org)\.[a-z]{2}")  # below which names are registered: co.uk
CARD = re.compile(r"(?<![\w-])(?=([2-6]\d{3}(?:[ -]?\d){9,15}))")
CARD_SCHEME = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|"
    r"6(?:011|2\d\d|4[4-9]\d|5\d\d)\d{12}"
)
IBAN = re.compile(r"(?<!\w)(?=([a-z]{2}\d{2}(?: ?[a-z\d]){11,30}))", re.IGNORECASE)
IBAN_LENGTHS, IBAN_DIGITS = range(15, 35), 8
CUED_ACCOUNT = re.compile(
    r"\b(?:(?:account|acct|a/c|routing|konto)\W{0,2}(?:number|nummer|no|nr|num|#)|kontonummer|sort code)"
    r"\W{0,3}(?:(?:is|was)\W{1,2})?(\d(?:[ -]?\d){5,17})(?!\w)",
    re.IGNORECASE,
)

GAP = r"[ .\-/()\u00a0\u2011]"
INTERNATIONAL = re.compile(rf"(?<![\w+])((?:\+|(?<!\d )00(?=[1-9]\d{{0,2}}{GAP}))\(?[1-9](?:{GAP}{{0,3}}\d){{5,12}}\d)(?!\w)")
NORTH_AMERICAN = re.compile(
    r"(?<![\w#.\-/+])(?<!\d )((?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4})(?![\w-]|[.,:]\d)"
)
WITH_TRUNK_ZERO = re.compile(
    r"(?<![\w#.,\-/+])(?<!\d )(\(?0[1-9]\d{1,3}\)? ?[ \-/] ?\d{3,}(?:[ -]\d{2,}){0,3}|0[1-9](?:[ .-]\d\d){4})"
    r"(?![\w\-/]|[.,:]\d)"
)
TRUNK_DIGITS = range(9, 13)
CUED_PHONE = re.compile(
    r"\b(?:(?:phone|telephone|telefon|tel|mobile|mobil|handy|cell|cellphone|fax|whatsapp)"
    r"(?:\W{0,3}\b(?:number|nummer|no|nr|is|at|on|to))*"
    r"|(?:call|dial|ring|text)(?: (?:me|us|you|him|her|them))?(?: back)?(?: (?:at|on|under))?)"
    rf"\W{{1,3}}(\+?\(?\d(?:{GAP}{{0,2}}\d){{6,14}})(?!\w)",
    re.IGNORECASE,
)
DATE = re.compile(r"\D*(?:\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./]\d{4})(?!\d)")
THOUSANDS = re.compile(r"\+?\d{1,3}(?:\.\d{3})+")
CONTEXT = 40  # characters before a number
# In front of a number that is the name of something.
REFERENCE = re.compile(
    r"\b(?:order|orders|ticket|case|invoice|reference|ref|tracking|shipment|serial|version|build|sku|article|part|request|id|ip)"
    r"(?:\W{0,3}\b(?:number|no|nr|id|code|is))*\W{0,3}$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PersonalDatum:
    """A piece of a text that says how to reach or charge somebody."""

    kind: Kind
    text: str  # as it stands there
    start: int  # where

    @property
    def domain(self) -> str:
        """The registered domain of an e-mail address; empty for numbers."""
        return registered_domain(self.text.rpartition("@")[2]) if self.kind == "e-mail address" else ""

    @property
    def key(self) -> str:
        """The same for all spellings."""
        compact = self.text.casefold() if self.kind == "e-mail address" else compact_form(self.text)
        return compact[-PHONE_KEY:] if self.kind == "phone number" else compact

    def stands_in(self, text: str) -> bool:
        """Whether a text holds it, in any spelling."""
        return self.key in (text.casefold() if self.kind == "e-mail address" else compact_form(text))


def personal_data(text: str) -> tuple[PersonalDatum, ...]:
    """All personal data of a text, in its order, none within another."""
    if not WORTH_A_LOOK.search(text):
        return ()
    found, taken = [], bytearray(len(text))
    for datum in (*emails(text), *_accounts(text), *_cards(text), *_phones(text)):
        end = datum.start + len(datum.text)
        if not any(taken[datum.start : end]):
            taken[datum.start : end] = b"\1" * len(datum.text)
            found.append(datum)
    return tuple(sorted(found, key=lambda datum: datum.start))


def registered_domain(host: str) -> str:
    """The part of a host name that somebody registered: `example.co.uk` of `login.example.co.uk`."""
    labels = host.casefold().strip(".").split(".")
    return ".".join(labels[-3:] if SECOND_LEVEL.fullmatch(".".join(labels[-2:])) else labels[-2:])


def compact_form(text: str) -> str:
    """Its letters and digits alone, in lower case."""
    return "".join(character for character in text.casefold() if character.isalnum())


def emails(text: str) -> Iterator[PersonalDatum]:
    """The e-mail addresses of a text."""
    return (PersonalDatum("e-mail address", match[0], match.start()) for match in EMAIL.finditer(text))


def _accounts(text: str) -> Iterator[PersonalDatum]:
    yield from _valid_prefixes(text, IBAN, _is_iban, "account number")
    yield from (PersonalDatum("account number", match[1], match.start(1)) for match in CUED_ACCOUNT.finditer(text))


def _cards(text: str) -> Iterator[PersonalDatum]:
    found = _valid_prefixes(text, CARD, _is_card, "card number")
    return (datum for datum in found if not REFERENCE.search(text[max(0, datum.start - CONTEXT) : datum.start]))


def _phones(text: str) -> Iterator[PersonalDatum]:
    for pattern in (INTERNATIONAL, CUED_PHONE, NORTH_AMERICAN, WITH_TRUNK_ZERO):
        for match in pattern.finditer(text):
            count = sum(character.isdigit() for character in match[1])
            short = pattern is WITH_TRUNK_ZERO and count not in TRUNK_DIGITS
            named = pattern is not INTERNATIONAL and REFERENCE.search(text[max(0, match.start(1) - CONTEXT) : match.start(1)])
            if PHONE_DIGITS[0] <= count <= PHONE_DIGITS[1] and not (short or named or _is_plain(match[1])):
                yield PersonalDatum("phone number", match[1], match.start(1))


def _is_plain(number: str) -> bool:
    """Whether it is a date, or an amount in groups of thousands."""
    return bool(DATE.match(number) or THOUSANDS.fullmatch(number))


def _valid_prefixes(text: str, pattern: re.Pattern[str], valid: Callable[[str], bool], kind: Kind) -> Iterator[PersonalDatum]:
    """The longest valid beginning of each match: what follows a number may look like more of it."""
    for match in pattern.finditer(text):
        whole, start = match[1], match.start(1)
        ends = (e for e in range(len(whole), 0, -1) if not text[start + e : start + e + 1].isalnum())
        if end := next((e for e in ends if valid(compact_form(whole[:e]))), 0):
            yield PersonalDatum(kind, whole[:end], start)


def _is_card(digits: str) -> bool:
    """Whether a card company could have issued the number, and its check digit fits (Luhn)."""
    if not CARD_SCHEME.fullmatch(digits):
        return False
    doubled = (2 * int(digit) if i % 2 else int(digit) for i, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _is_iban(compact: str) -> bool:
    """Whether the check digits fit (ISO 13616)."""
    if len(compact) not in IBAN_LENGTHS or not compact.isascii() or sum(map(str.isdigit, compact)) < IBAN_DIGITS:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1
