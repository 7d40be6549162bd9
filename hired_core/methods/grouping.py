"""Selections that keep so many tokens of each group, whatever allocation makes the groups.

Groups are the partitions of an image, with budgets by an allocation, or, of the allocation
`global`, the whole image. A selection is one plain function of groups (`Pick`), so that every
allocation goes with every selection. Legend: B images, P partitions, N patches, G groups, n tokens
of a group: P groups of N, or one of P*N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hired_core.choices import NewlinePolicy, Positions
from hired_core.methods.allocation import AllocationOptions, allocate, allocation_needs
from hired_core.methods.base import Evidence, Method, Needs, Reduction, selection
from hired_core.methods.pairing import look_at_nothing
from hired_core.methods.schedule import MakeSchedule


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What tokens compete with each other for how many places.

    Attributes:
        valid: bool [B, G, n].
        budgets: int64 [B, G], none above the group's valid tokens.
        most: none of the budgets is above it; known without asking the device.
        shape: (P, N).
    """

    valid: Tensor
    budgets: Tensor
    most: int
    shape: tuple[int, int]

    def of(self, values: Tensor) -> Tensor:
        """[B, G, n, ...] of [B, P, N, ...]."""
        images, num_groups, size = self.valid.shape
        return values.reshape(images, num_groups, size, *values.shape[3:])

    def partitions(self, values: Tensor) -> Tensor:
        """[B, P, N, ...] of [B, G, n, ...]."""
        return values.reshape(values.shape[0], *self.shape, *values.shape[3:])


Pick = Callable[[Evidence, Groups, Any], Tensor]
"""(evidence, groups, options) -> keep bool [B, G, n]: `budgets` of the valid, exactly."""


def make_groups(evidence: Evidence, budget: Tensor, options: AllocationOptions) -> Groups:
    """By the allocation that the options ask for; budget int64 [B]."""
    valid = evidence.layout.valid
    shape = (valid.shape[1], valid.shape[2])
    if options.allocation == "global":
        valid = valid.flatten(1)[:, None]
        budgets = torch.minimum(budget, valid.sum((1, 2)))[:, None]
    else:
        budgets = allocate(evidence, budget, options)
    return Groups(valid=valid, budgets=budgets, most=_most(budgets, evidence, valid), shape=shape)


def _most(budgets: Tensor, evidence: Evidence, valid: Tensor) -> int:
    """The largest budget; on a GPU, where asking would wait for it, what it cannot exceed."""
    if budgets.is_cuda:
        return min(evidence.max_rows, valid.shape[-1])
    return int(budgets.max())


@dataclass(frozen=True, kw_only=True)
class GroupedSelection(Method):
    """See `Method`.

    Attributes:
        pick: which tokens of a group stay.
        looks_at: from options to what `pick` looks at; the allocation adds its own.
        options: with `allocation` and `alpha`, and what `pick` has besides.
    """

    pick: Pick
    looks_at: Callable[[Any], Needs] = look_at_nothing
    options: type[AllocationOptions] = AllocationOptions
    needs_full_image: bool = False
    positions: Positions = "compact"
    newline: NewlinePolicy = "none"
    schedule: MakeSchedule | None = None

    def needs(self, options: Any) -> Needs:
        needs = self.looks_at(options).also(allocation_needs(options))
        if needs.pairs is not None and options.allocation == "global":
            return needs.also(Needs(pairs="image"))
        return needs

    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        groups = make_groups(evidence, budget, options)
        keep = groups.partitions(self.pick(evidence, groups, options))
        return selection(evidence, keep, keep.sum(-1))
