"""Images to kept visual tokens at a fixed budget: the vision stage as one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hired_core.budget import BudgetBasis, token_budget_to_count
from hired_core.layout import LayoutBatch, PartitionLayout
from hired_core.methods import METHODS, Evidence, Method
from hired_core.models.spec import ModelSpec
from hired_core.selection import gather_order
from hired_core.vision import VisionEncoder, VisionOutput


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """Which tokens to keep.

    Attributes:
        method: a key of `METHODS`.
        token_budget: what the user asked for; see `token_budget_to_count`.
        alpha: share of the budget for the full-image, in [0, 1].
        transposed_grid: see `PartitionLayout.from_image_size`.
    """

    method: str = "hired"
    token_budget: float = 0.2
    budget_basis: BudgetBasis = "model"
    alpha: float = 0.5
    transposed_grid: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"no method {self.method!r}; there are {', '.join(METHODS)}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")
        token_budget_to_count(self.token_budget, nominal=1, own=1)


@dataclass(frozen=True, kw_only=True)
class KeptTokens:
    """The visual tokens of one image that go on to the language model.

    Attributes:
        features: [K, C], on the CPU, in sequence order.
        order: int64 [K], ascending positions (`PartitionLayout.order`).
        budgets: int64 [P], tokens given to each partition. Kept are as many, but for
            `hired-upstream`, which loses those it spends on padding.
        num_dense: tokens the dense model would see, newlines not counted.
    """

    features: Tensor
    order: Tensor
    budgets: Tensor
    num_dense: int


class ImageEncoder:
    """Encodes batches of images of any mix of grids."""

    def __init__(self, vision: VisionEncoder, spec: ModelSpec, settings: SelectionSettings) -> None:
        self.vision = vision
        self.spec = spec
        self.settings = settings
        # At 1 all methods are the unmodified model, `hired-upstream` with its lossy floors too.
        name = "dense" if settings.token_budget == 1 else settings.method
        self.method: Method = METHODS[name]

    @torch.inference_mode()
    def __call__(
        self,
        partitions: Sequence[npt.NDArray[np.uint8]],
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
    ) -> list[KeptTokens]:
        """Kept tokens of each image.

        Args:
            partitions: uint8 [P, 3, S, S] per image.
            sizes: (height, width) in pixels of each image.
            seeds: int64 per image, derived from its content; only `random` looks at it.
        """
        layouts = [self._layout(height, width) for height, width in sizes]
        pixels = torch.from_numpy(np.concatenate(partitions))
        output = self.vision.encode(pixels, with_attention=self.method.uses_attention)
        device = output.features.device
        evidence = self._evidence(layouts, output, torch.tensor(seeds, device=device))
        wanted = [self._budget(layout) for layout in layouts]
        budget = torch.tensor(wanted, device=device)
        keep, budgets = self.method.keep(evidence, budget, self.settings.alpha)
        features = _pad(output.features, layouts).flatten(1, 2)
        index, count = gather_order(keep, evidence.layout.order, max(wanted))
        kept = features.gather(1, index[..., None].expand(-1, -1, features.shape[-1]))
        order = evidence.layout.order.flatten(1).gather(1, index)
        return _split(kept.cpu(), order.cpu(), count.tolist(), budgets.cpu(), layouts)

    def _layout(self, height: int, width: int) -> PartitionLayout:
        transposed = self.settings.transposed_grid
        return self.spec.layout(height, width, transposed_grid=transposed)

    def _budget(self, layout: PartitionLayout) -> int:
        own = layout.num_partitions * layout.num_patches
        if self.method.keeps_all:
            return own
        basis: BudgetBasis = "image" if self.method.own_basis else self.settings.budget_basis
        count = token_budget_to_count(
            self.settings.token_budget, nominal=self.spec.nominal_tokens, own=own, basis=basis
        )
        return own if count is None else min(count, own)

    def _evidence(
        self, layouts: list[PartitionLayout], output: VisionOutput, seeds: Tensor
    ) -> Evidence:
        layout = LayoutBatch.stack(layouts, device=output.features.device)
        if output.initial_attention is None or output.final_attention is None:
            return Evidence(layout=layout, seeds=seeds)
        initial = _pad(output.initial_attention, layouts)[:, 0]
        final = _pad(output.final_attention, layouts)
        return Evidence(layout=layout, seeds=seeds, initial=initial, final=final)


def _pad(values: Tensor, layouts: list[PartitionLayout]) -> Tensor:
    """[sum of P, ...] -> [B, largest P, ...], zeros for absent partitions."""
    rows = values.split([layout.num_partitions for layout in layouts])
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _split(
    features: Tensor,
    order: Tensor,
    counts: list[int],
    budgets: Tensor,
    layouts: list[PartitionLayout],
) -> list[KeptTokens]:
    return [
        KeptTokens(
            features=features[row, :count],
            order=order[row, :count],
            budgets=budgets[row, : layout.num_partitions],
            num_dense=layout.num_valid,
        )
        for row, (count, layout) in enumerate(zip(counts, layouts, strict=True))
    ]
