"""Prompts that begin alike: what they share goes through the base once.

Tickets of one intent mostly show the same stored replies in the same order, so their prompts differ in nothing but the ticket,
which stands last: of the 50 tickets of a drawn Bitext set 21 beginnings remain. A prompt joins a group if it agrees with the
group's first in two thirds of the shorter one. Keys and values of the beginnings are computed as one batch and copied to their
rows; the rest of the prompts follows. Padding stands on the left of either part, hidden by the mask and left out of the
positions, so up to float noise every row gets the logits that it would get alone. Layers that forget what is far back (sliding
windows, linear attention) would count padding as distance, so a base with such layers computes every prompt whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SHARED = 2 / 3  # of the shorter prompt must be the same for two to share a beginning
Ids = Sequence[int]


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch of b prompts with its padding; each has one of g beginnings. Without owners (g = 0) they are just padded."""

    ids: list[list[int]]  # (b, width)
    mask: list[list[int]]  # (b, width), 0 where padding stands
    shared_width: int = 0  # of the columns that hold the beginnings
    owners: tuple[int, ...] = ()  # (b,) the beginning of each prompt; the first prompt that has it stands for it

    @property
    def beginnings(self) -> int:
        """How many beginnings there are."""
        return len(set(self.owners))

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.ids[0])


def can_share(model: torch.nn.Module) -> bool:
    """Whether all layers of a base see all of a prompt."""
    whole = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
    return whole and "local" not in getattr(model.config, "attention_layers", ())  # GPT-Neo's windows are in no cache


def alike(prompts: Sequence[Ids]) -> list[list[int]]:
    """Indices of the prompts, those together that share a beginning; in lexicographic order of the ids."""
    groups: list[list[int]] = []
    for i in sorted(range(len(prompts)), key=lambda i: tuple(prompts[i])):
        if groups and _share(prompts[groups[-1][0]], prompts[i]):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _share(one: Ids, other: Ids) -> bool:
    length = math.ceil(SHARED * min(len(one), len(other)))
    return tuple(one[:length]) == tuple(other[:length])


def lay_out(prompts: Sequence[Ids], *, padding: int, share: bool) -> Layout:
    """Pads a batch of prompts, in two parts if it may `share` and that makes fewer tokens to compute."""
    plain = Layout(*_padded(prompts, max(map(len, prompts)), padding))
    if not share:
        return plain
    groups = alike(prompts)
    owner_of = {i: number for number, group in enumerate(groups) for i in group}
    lengths = [_common([prompts[i] for i in group]) for group in groups]
    first = [prompts[i][: lengths[owner_of[i]]] for i in range(len(prompts))]
    rest = [prompts[i][lengths[owner_of[i]] :] for i in range(len(prompts))]
    shared_width, rest_width = max(lengths), max(map(len, rest))
    if len(groups) * shared_width + len(prompts) * rest_width >= len(prompts) * plain.width:
        return plain
    ids, mask = (
        [[*left, *right] for left, right in zip(*parts, strict=True)]
        for parts in zip(_padded(first, shared_width, padding), _padded(rest, rest_width, padding), strict=True)
    )
    return Layout(ids, mask, shared_width, tuple(owner_of[i] for i in range(len(prompts))))


def _common(prompts: Sequence[Ids]) -> int:
    """How many tokens all of them begin with; at least one is left over, for the logits of the last."""
    agree = zip(*prompts, strict=False)
    length = next((k for k, column in enumerate(agree) if len(set(column)) > 1), min(map(len, prompts)))
    return min(length, min(map(len, prompts)) - 1)


def _padded(rows: Sequence[Ids], width: int, padding: int) -> tuple[list[list[int]], list[list[int]]]:
    missing = [width - len(row) for row in rows]
    ids = [[padding] * gap + list(row) for gap, row in zip(missing, rows, strict=True)]
    return ids, [[0] * gap + [1] * len(row) for gap, row in zip(missing, rows, strict=True)]


def beginnings_cache(model: torch.nn.Module, layout: Layout, device: torch.device) -> DynamicCache | None:
    """Keys and values of the beginnings, a row for each prompt; None without any."""
    if not layout.beginnings:
        return None
    rows = [layout.owners.index(number) for number in range(layout.beginnings)]
    parts = ([part[i][: layout.shared_width] for i in rows] for part in (layout.ids, layout.mask))
    ids, mask = (torch.tensor(part, device=device) for part in parts)  # (g, shared_width)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_select_indices(torch.tensor(layout.owners, device=device))
    return cache
