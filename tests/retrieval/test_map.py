import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from retrieval.map import MapPoint, NoPlots, draw_map, plane
from tests.fakes import HashEncoder, train_set

VECTORS = HashEncoder().encode(["my $token$ <b>leaked", "no intent"])
POINTS = [MapPoint(f"v{i} $x_1$", "api.token", vector, ("t3", "unknown")) for i, vector in enumerate(VECTORS)]


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_same_rows_give_the_same_picture(kind: str, start: bytes) -> None:
    pictures = [BytesIO(), BytesIO()]
    for picture in pictures:
        draw_map(train_set(), POINTS, picture, file_format=kind)
    first, second = (picture.getvalue() for picture in pictures)
    assert first.startswith(start)
    if kind == "png":
        assert first == second
    else:
        assert b"<dc:date>" not in first
        assert b"v0 $x_1$" in first, "an id is no formula"


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(NoPlots, match=r"pip install -r requirements-dev\.txt"):
        draw_map(train_set(), POINTS, Path("never.png"))


def test_few_points_keep_their_distances_and_equal_ones_lie_at_one_place() -> None:
    three = train_set().ticket_vectors[[0, 2, 4]]
    on_plane, in_space = (np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (plane(three), three))
    assert np.allclose(on_plane, in_space, atol=1e-5)
    assert plane(np.repeat(three[:1], 9, axis=0)).tolist() == [[0.0, 0.0]] * 9
    assert plane(three[:1]).tolist() == [[0.0, 0.0]]
