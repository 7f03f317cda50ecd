from evaluation.audit.findings import Finding
from evaluation.audit.numbers import number_findings
from tests.evaluation.audit.evidence import evidence
from tests.fakes import HashEncoder, row


def findings(*replies: str, tickets: tuple[str, ...] = (), intents: tuple[str, ...] = ()) -> list[Finding]:
    texts, names = tickets or tuple(f"ticket {'abcde'[i]}" for i in range(len(replies))), intents or ("x",) * len(replies)
    rows = [row(i, text, name, reply) for i, (text, name, reply) in enumerate(zip(texts, names, replies, strict=True))]
    return number_findings(evidence(rows), HashEncoder())


def test_two_numbers_in_nearly_the_same_sentence_are_found() -> None:
    (finding,) = findings("Hello. The old token works for 24 hours.", "The old token works for 72 hours. Bye.")
    assert finding.what == '"t0" says 24 and "t1" says 72 (hour) in nearly the same sentence'
    assert [one.reply for one in finding.rows] == ["The old token works for 24 hours.", "The old token works for 72 hours."]


def test_the_same_number_another_thing_another_subject_and_another_intent_are_no_contradiction() -> None:
    assert findings("The old token works for 24 hours.", "The old token works for 24 h.") == []
    assert findings("The old token works for 24 hours.", "The old token works for 3 days.") == []
    assert findings("The old token works for 24 hours.", "Exports of big workspaces need up to 72 hours to prepare.") == []
    assert findings("It works for 24 hours.", "It works for 72 hours.", intents=("x", "y")) == []


def test_a_number_of_the_customers_own_is_none_of_the_products() -> None:
    tickets = ("where is my rebate of $350", "where is my rebate of $160")
    assert findings("You wait for a rebate of $350.", "You wait for a rebate of $160.", tickets=tickets) == []
    assert len(findings("You wait for a rebate of $350.", "You wait for a rebate of $160.")) == 1


def test_a_repeated_reply_is_one() -> None:
    assert len(findings("It works for 24 hours.", "It works for 24 hours.", "It works for 72 hours.")) == 1
