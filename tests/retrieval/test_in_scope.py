from dataclasses import replace

import numpy as np
import pytest

from retrieval.in_scope import class_vectors, fitted_threshold, in_scope_threshold, leave_one_out_scores
from retrieval.known_models import MPNET
from tests.fakes import ROWS, train_set, with_rowless


def test_the_threshold_of_a_known_encoder_rises_with_the_number_of_intents() -> None:
    known = replace(train_set(), encoder=MPNET.name)
    assert in_scope_threshold(known, with_names=True) == pytest.approx(0.24 + 0.04 * np.log(3))
    assert fitted_threshold(150) > fitted_threshold(15) > fitted_threshold(1) == 0.24


def test_an_intent_with_neither_row_nor_name_does_not_raise_the_threshold() -> None:
    known = replace(with_rowless(), encoder=MPNET.name)
    assert in_scope_threshold(known, with_names=True) == fitted_threshold(4)
    assert in_scope_threshold(known, with_names=False) == fitted_threshold(3)


def test_an_encoder_that_nobody_measured_takes_its_threshold_from_its_own_rows() -> None:
    scores = leave_one_out_scores(train_set(), with_names=True)
    assert in_scope_threshold(train_set(), with_names=True) == pytest.approx(np.quantile(scores, 0.05))


def test_without_a_row_the_fitted_threshold_stands() -> None:
    assert in_scope_threshold(train_set().subset([]), with_names=True) == fitted_threshold(3)


@pytest.mark.parametrize("with_names", [True, False])
def test_a_row_is_compared_with_its_own_intent_as_if_it_were_not_there(with_names: bool) -> None:
    whole = train_set()
    scores = leave_one_out_scores(whole, with_names=with_names)
    for i in range(len(ROWS)):
        others = class_vectors(whole.without([i]), with_names=with_names)
        assert scores[i] == pytest.approx((whole.ticket_vectors[i] @ others.T).max(), abs=1e-6)


def test_an_intent_s_only_row_is_compared_with_its_name_alone() -> None:
    single = train_set(ROWS[:3])
    own = single.ticket_vectors[2] @ single.name_vectors[single.labels[2]]
    other = single.ticket_vectors[2] @ class_vectors(single, with_names=True)[1 - single.labels[2]]
    assert leave_one_out_scores(single, with_names=True)[2] == pytest.approx(max(own, other), abs=1e-6)
