"""Embeddings of the prompt that stand among an image's visual tokens, beside row ends.

What opens and closes an image, or says which partition comes next. A mark goes in where its
partitions kept a token: of what is left out altogether nothing is announced.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """Q marks of an image of P partitions, in the order of the sequence.

    Attributes:
        before: int64 [Q]; the place of the visual token that a mark stands before, or P*N.
        separator: int64 [Q]; which of the model's separators it is.
        needs, also: bool [Q, P]; it goes in where any of these partitions kept a token, and any of
            those.
        unless: bool [Q, P]; and none of these.
    """

    before: Tensor
    separator: Tensor
    needs: Tensor
    also: Tensor
    unless: Tensor

    def among(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """(before, separator) of those that go in, given bool [P]: which partitions kept a token"""
        needed, also, without = (
            (each & kept).any(-1) for each in (self.needs, self.also, self.unless)
        )
        here = needed & also & ~without
        return self.before[here], self.separator[here]


@dataclass
class MarksBuilder:
    """Puts marks together, one after the other.

    Args:
        num_partitions: P.
    """

    num_partitions: int

    def __post_init__(self) -> None:
        self._rows: list[tuple[int, int, Tensor, Tensor, Tensor]] = []

    def add(
        self,
        before: int,
        separators: list[int],
        *,
        needs: list[int] | None = None,
        also: list[int] | None = None,
        unless: list[int] | None = None,
    ) -> None:
        """Partitions by their indices; None of `needs` or `also` is any."""
        flags = (self._flags(needs, True), self._flags(also, True), self._flags(unless, False))
        self._rows += [(before, separator, *flags) for separator in separators]

    def _flags(self, chosen: list[int] | None, otherwise: bool) -> Tensor:
        if chosen is None:
            return torch.full((self.num_partitions,), otherwise)
        flags = torch.zeros(self.num_partitions, dtype=torch.bool)
        flags[chosen] = True
        return flags

    def build(self) -> Marks:
        before, separator, needs, also, unless = zip(*self._rows, strict=True)
        return Marks(
            before=torch.tensor(before),
            separator=torch.tensor(separator),
            needs=torch.stack(needs),
            also=torch.stack(also),
            unless=torch.stack(unless),
        )
