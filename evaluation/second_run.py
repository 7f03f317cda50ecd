"""Two results of the same input: what differs?

What it does not know: why. Times differ always and are not compared.
"""

from collections.abc import Mapping
from typing import Any

TIMES = ("latency_ms", "wall_clock_s")


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[str]]:
    """What differs, by row id (`training` for the figures of the training); empty where two runs agree."""
    found: dict[str, list[str]] = {}
    if what := _unlike(first["training"], second["training"]):
        found["training"] = what
    ours, theirs = ({row["id"]: row for row in result["predictions"]} for result in (first, second))
    for key in dict.fromkeys((*ours, *theirs)):
        if key not in ours or key not in theirs:
            found[key] = ["only in the first run" if key in ours else "only in the second run"]
        elif what := _unlike(ours[key], theirs[key]):
            found[key] = what
    if list(ours) != list(theirs) and set(ours) == set(theirs):
        found["order"] = ["the rows stand in another order"]
    return found


def _unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [key for key in dict.fromkeys((*ours, *theirs)) if key not in TIMES and ours.get(key) != theirs.get(key)]
