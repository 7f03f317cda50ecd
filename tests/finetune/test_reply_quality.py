"""Reply quality: half cosine, half facts."""

import pytest

from finetune.reply_quality import fact_f1, reply_qualities
from tests.fakes import HashEncoder


def test_an_equal_reply_has_quality_one_and_one_without_its_facts_at_most_half() -> None:
    ideal = "Press Rotate; it takes 24 hours and costs $5."
    equal, bare = reply_qualities([ideal, "Press Rotate."], [ideal, ideal], HashEncoder())
    assert equal == pytest.approx(1.0)
    assert bare < 0.5


def test_without_facts_in_the_ideal_reply_cosine_counts_alone() -> None:
    (found,) = reply_qualities(["Guests need none."], ["Guests need none."], HashEncoder())
    assert fact_f1("It costs $5.", "Guests need none.") is None
    assert found == pytest.approx(1.0)


def test_piling_up_facts_does_not_pay_and_a_duration_counts_once() -> None:
    assert fact_f1("It takes 24 hours.", "Wait 24h.") == 1.0
    assert fact_f1("It takes 24 hours, 3 days or 9 weeks.", "Wait 24h.") == pytest.approx(0.5)
    assert fact_f1("Soon.", "Wait 24h.") == 0.0
    assert fact_f1("Up to 7 seats within 5 days.", "Up to 5 seats within 5 days.") == pytest.approx(0.5), "5 is counted twice"


def test_what_is_embedded_already_is_not_embedded_again() -> None:
    encoder = HashEncoder()
    known = dict(zip(["ours", "ideal"], encoder.encode(["ours", "ideal"]), strict=True))
    expected = reply_qualities(["ours", "new"], ["ideal", "ideal"], encoder)
    asked: list[str] = []
    encode = encoder.encode
    encoder.encode = lambda texts: (asked.extend(texts), encode(texts))[1]  # type: ignore[method-assign]
    assert reply_qualities(["ours", "new"], ["ideal", "ideal"], encoder, known=known) == pytest.approx(expected)
    assert asked == ["new"]
