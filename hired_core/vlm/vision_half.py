"""Images to kept visual tokens at a fixed budget: the vision stage as one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hired_core.geometry.layout import LayoutBatch, PartitionLayout
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.budget import BudgetBasis, token_budget_to_count
from hired_core.methods.layers import Layer
from hired_core.methods.registry import (
    METHODS,
    Allocation,
    Evidence,
    Heads,
    Method,
    allocate_worthwhile,
    hired,
)
from hired_core.methods.selection import gather_order
from hired_core.transfer import download, upload, upload_ahead, wait_for
from hired_core.vision.tower import FinalLayer, VisionEncoder


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """Which tokens to keep.

    Attributes:
        method: a key of `METHODS`.
        token_budget: what the user asked for; see `token_budget_to_count`.
        alpha: share of the budget for the full-image, in [0, 1].
        transposed_grid: see `PartitionLayout.from_image_size`.
        skip_below: sub-images that would get fewer tokens are not encoded, nothing is skipped at 0;
            `hired` only.
        allocation, dropping, heads: see `hired_core.methods.registry.hired`; `hired` only.
    """

    method: str = "hired"
    token_budget: float = 0.2
    budget_basis: BudgetBasis = "model"
    alpha: float = 0.5
    transposed_grid: bool = False
    skip_below: int = 0
    allocation: Allocation = "initial"
    dropping: Layer = "final"
    heads: Heads = "sum"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"no method {self.method!r}; there are {', '.join(METHODS)}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")
        if self.skip_below < 0:
            raise ValueError(f"skip_below must be 0 or more, got {self.skip_below}")
        if self.skip_below and self.method != "hired":
            raise ValueError(f"skip_below works with method 'hired' only, not {self.method!r}")
        token_budget_to_count(self.token_budget, nominal=1, own=1)
        self._check_variation()

    def _check_variation(self) -> None:
        chosen = (self.allocation, self.dropping, self.heads)
        for value, kind in zip(chosen, (Allocation, Layer, Heads), strict=True):
            if value not in get_args(kind):
                raise ValueError(f"{value!r} is none of {', '.join(get_args(kind))}")
        if chosen != ("initial", "final", "sum") and self.method != "hired":
            raise ValueError(f"only method 'hired' has variations, not {self.method!r}")
        if self.skip_below and self.allocation == "final":
            raise ValueError("skip_below: the final layer tells the shares too late to skip")

    def resolve(self) -> Method:
        """At 1 all methods are the unmodified model, `hired-upstream` with its lossy floors too."""
        if self.token_budget == 1:
            return METHODS["dense"]
        if self.method == "hired":
            return hired(self.allocation, self.dropping, self.heads)
        return METHODS[self.method]


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


class _Encoded(NamedTuple):
    """Of B images: features [B, K, C], order [B, K], `counts` [B] of them real, budgets [B, P]."""

    features: Tensor
    order: Tensor
    counts: Tensor
    budgets: Tensor


class ImageEncoder:
    """Encodes batches of images of any mix of grids."""

    def __init__(self, vision: VisionEncoder, spec: ModelSpec, settings: SelectionSettings) -> None:
        self.vision = vision
        self.spec = spec
        self.settings = settings
        self.method = settings.resolve()
        self.skips = settings.skip_below > 0 and not self.method.keeps_all
        self._allocates_late = self.method.allocates_by == "final"
        late: set[Layer] = {"final"} if self._allocates_late else set()
        self._looked_at = late | ({self.method.selects_by} if self.method.selects_by else set())

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
        groups = micro_batches([lay.valid.numel() for lay in layouts], self.vision.micro_batch)
        device = self.vision.tower.device
        uploaded = upload_ahead((partitions[group] for group in groups), device)
        found = []
        for group, pixels in zip(groups, uploaded, strict=True):
            encoded = self._encode(pixels, layouts[group], seeds[group])
            found.append(_Encoded(*map(download, encoded)))
        wait_for(device)
        parts = zip(groups, found, strict=True)
        return [kept for group, encoded in parts for kept in _split(encoded, layouts[group])]

    def _encode(
        self, pixels: Tensor, layouts: Sequence[PartitionLayout], seeds: Sequence[int]
    ) -> _Encoded:
        """One micro-batch; nothing waits for the device, unless sub-images are skipped."""
        vision, device = self.vision, pixels.device
        evidence = self._begin(layouts, seeds, device)
        layout = evidence.layout
        wanted = [self._budget(one) for one in layouts]
        budget = upload(torch.tensor(wanted), device)
        hidden, encoded = vision.embed(pixels), layout.present
        if not self._allocates_late:
            evidence, budgets = self._allocate(self._look_first(evidence, hidden), budget)
        if self.skips:
            encoded = budgets > 0
            hidden = hidden[encoded[layout.present]]
        looked_at = [vision.index_of(layer) for layer in self._looked_at]
        rows, final = _rows(encoded), vision.encode(hidden, looked_at)
        evidence = self._look(evidence, final, rows)
        if self._allocates_late:
            evidence, budgets = self._allocate(evidence, budget)
        most = max(map(min, wanted, (one.num_valid for one in layouts)))
        index, counts = self._select(evidence, budgets, most)
        num_patches = layout.valid.shape[-1]
        row, patch = rows.gather(1, index // num_patches), index % num_patches
        order = layout.order.flatten(1).gather(1, index)
        return _Encoded(vision.finish(final, row, patch), order, counts, budgets)

    def _begin(
        self, layouts: Sequence[PartitionLayout], seeds: Sequence[int], device: torch.device
    ) -> Evidence:
        layout = LayoutBatch.stack(layouts, device=device)
        return Evidence(layout=layout, seeds=upload(torch.tensor(seeds), device))

    def _look_first(self, evidence: Evidence, embedded: Tensor) -> Evidence:
        """What is known before anything is encoded."""
        if self.method.allocates_by is None:
            return evidence
        full_images = embedded[_rows(evidence.layout.present)[:, 0]]
        index = self.vision.index_of(self.method.allocates_by)
        attention = self._heads(self.vision.attention_before(index, full_images))
        return replace(evidence, full_image_attention=attention)

    def _look(self, evidence: Evidence, final: FinalLayer, rows: Tensor) -> Evidence:
        """What is known when all layers but the final one have run."""
        seen = {layer: self._attention_of(final, layer) for layer in self._looked_at}
        if self._allocates_late:
            evidence = replace(evidence, full_image_attention=seen["final"][rows[:, 0]])
        if self.method.selects_by is not None:
            evidence = replace(evidence, partition_attention=seen[self.method.selects_by][rows])
        return evidence

    def _attention_of(self, final: FinalLayer, layer: Layer) -> Tensor:
        return self._heads(self.vision.attention_of(final, self.vision.index_of(layer)))

    def _heads(self, attention: Tensor) -> Tensor:
        return attention if self.method.heads == "sum" else attention[..., :1, :]

    def _select(self, evidence: Evidence, budgets: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Of the patches kept: places [B, most] in the flattened P*N, and how many are real."""
        keep = self.method.select(evidence, budgets)
        return gather_order(keep, evidence.layout.order, most)

    def _allocate(self, evidence: Evidence, budget: Tensor) -> tuple[Evidence, Tensor]:
        """Budgets [B, P], and the evidence without what is not worth a look."""
        method, settings = self.method, self.settings
        if self.skips:
            least = settings.skip_below
            return allocate_worthwhile(method.allocate, evidence, budget, settings.alpha, least)
        return evidence, method.allocate(evidence, budget, settings.alpha)

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


def micro_batches(sizes: Sequence[int], limit: int) -> list[slice]:
    """Runs of neighbours whose sizes sum to `limit` at most; a larger one stands alone."""
    groups: list[slice] = []
    total = 0
    for at, size in enumerate(sizes):
        total += size
        if groups and total <= limit:
            groups[-1] = slice(groups[-1].start, at + 1)
        else:
            groups.append(slice(at, at + 1))
            total = size
    return groups


def _rows(encoded: Tensor) -> Tensor:
    """int64 [B, P]: which row of all partitions encoded each one is; arbitrary for the others."""
    return (encoded.flatten().cumsum(0) - 1).view(encoded.shape)


def _split(encoded: _Encoded, layouts: Sequence[PartitionLayout]) -> list[KeptTokens]:
    return [
        KeptTokens(
            features=encoded.features[row, :count],
            order=encoded.order[row, :count],
            budgets=encoded.budgets[row, : layout.num_partitions],
            num_dense=layout.num_valid,
        )
        for row, (count, layout) in enumerate(zip(encoded.counts.tolist(), layouts, strict=True))
    ]
