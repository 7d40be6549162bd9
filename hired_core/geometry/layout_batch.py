"""Layouts of several images as one.

Shape letters: B images, P partitions of one image, N visual tokens per partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hired_core.geometry.layout import PartitionLayout
from hired_core.transfer import upload

__all__ = ["LayoutBatch"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayoutBatch:
    """Layouts of B images with different partition counts, padded to the largest P.

    Attributes:
        valid: bool [B, P, N]; False also for partitions an image does not have.
        sub_image_of: int64 [B, N], or [B, P*N] without a full-image.
        place: int64 [B, P, N]; absent partitions hold positions after all others.
        centre: float32 [B, P, N, 2]; zeros of absent partitions.
        num_partitions: int64 [B].
    """

    valid: Tensor
    sub_image_of: Tensor
    place: Tensor
    centre: Tensor
    num_partitions: Tensor

    @classmethod
    def stack(
        cls, layouts: Sequence[PartitionLayout], *, device: torch.device | str = "cpu"
    ) -> LayoutBatch:
        """Raises `ValueError` on an empty list or layouts of different token counts."""
        if len({layout.num_tokens for layout in layouts}) != 1:
            raise ValueError("a batch needs at least one layout, all with the same token count")
        target = torch.device(device)
        most = max(layout.num_partitions for layout in layouts)
        count = layouts[0].num_tokens
        absent = torch.arange(most * count).view(most, count)
        valid = torch.zeros(len(layouts), most, count, dtype=torch.bool)
        place = absent.expand(len(layouts), -1, -1).clone()
        centre = torch.zeros(len(layouts), most, count, 2)
        for row, layout in enumerate(layouts):
            valid[row, : layout.num_partitions] = layout.valid
            place[row, : layout.num_partitions] = layout.place
            centre[row, : layout.num_partitions] = layout.centre
        return cls(
            valid=upload(valid, target),
            sub_image_of=upload(_stacked([lay.sub_image_of for lay in layouts]), target),
            place=upload(place, target),
            centre=upload(centre, target),
            num_partitions=upload(torch.tensor([lay.num_partitions for lay in layouts]), target),
        )

    @property
    def present(self) -> Tensor:
        """bool [B, P]: the partitions each image has."""
        index = torch.arange(self.valid.shape[1], device=self.valid.device)
        return index < self.num_partitions[:, None]


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """[B, longest], -1 behind shorter ones."""
    return pad_sequence(list(rows), batch_first=True, padding_value=-1)
