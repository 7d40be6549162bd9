"""Images to the rows that the language model will see: the vision half as one call.

Legend: B images, P partitions, N visual tokens, K rows, M partitions of a micro-batch, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hired_core.choices import WeightFormat
from hired_core.geometry.base import Pixels
from hired_core.geometry.canvas import Size
from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.layout_batch import LayoutBatch
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.base import Evidence, Reduction, weighted_rows
from hired_core.methods.budget import token_budget_to_count
from hired_core.models.registry import family_of
from hired_core.transfer import download, upload, upload_ahead, wait_for
from hired_core.vision.packed import Encoder, PackedEncoder, make_encoder
from hired_core.vlm.fitting import require_fit
from hired_core.vlm.resized_grids import ReducedImages, resize_grids
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.shrinking import Shrinker
from hired_core.vlm.square_images import SquareImages, rows_of
from hired_core.vlm.whole_images import WholeImages, token_rows


@dataclass(frozen=True, kw_only=True)
class KeptTokens:
    """The rows of one image that go on to the language model.

    Attributes:
        features: [K, C], or [K, D] where `projected`; on the CPU, in sequence order.
        place: int64 [K], ascending: where each row stands (`PartitionLayout.place`).
        budgets: int64 [P], rows given to each partition. Kept are as many, but for
            `hired-upstream`, which loses those it spends on padding.
        num_dense: visual tokens the dense model would see, newlines and marks not counted.
        size: (height, width) of the image in pixels.
        projected: whether features are behind the projector.
    """

    features: Tensor
    place: Tensor
    budgets: Tensor
    num_dense: int
    size: Size
    projected: bool = False


class VisionHalf:
    """Encodes batches of images of any mix of grids.

    Args:
        projector: needed where rows travel projected (`ReductionSettings.projects_rows`).
    """

    def __init__(
        self,
        vision: Encoder,
        spec: ModelSpec,
        settings: ReductionSettings,
        projector: nn.Module | None = None,
    ) -> None:
        require_fit(spec, settings)
        self.encoder = vision
        self.spec = spec
        self.settings = settings
        settings.check_tower(has_cls=vision.tower.has_cls)
        self.method, self.options = settings.resolve()
        self.needs = self.method.needs(self.options)
        self.projector = projector
        self._projects = settings.projects_rows(spec)
        self._resizes = self.method.keeps_all and spec.geometry.resizes_tokens
        if self._projects and projector is None:
            raise ValueError(f"method {settings.method} needs the projector, and there is none")
        self.skips = self.method.skips(self.options)
        self._all_features = self.method.merges or self.needs.features or self.needs.projected
        self.shrinker: Shrinker | None = None
        if isinstance(vision, PackedEncoder):
            self.images: SquareImages | WholeImages = WholeImages(encoder=vision, needs=self.needs)
            return
        size = spec.geometry.patch_size * spec.geometry.merge
        self.shrinker = Shrinker.of(self.method, self.options, vision, settings.method, size)
        self.images = SquareImages(encoder=vision, needs=self.needs)

    @classmethod
    def load(
        cls,
        spec: ModelSpec,
        settings: ReductionSettings,
        *,
        device: torch.device,
        dtype: torch.dtype,
        quantized: WeightFormat | None = None,
    ) -> VisionHalf:
        """With the weights of the checkpoint; the projector's only where the method needs it.

        Args:
            quantized: of the tower, see `hired_core.models.weights`.

        Raises:
            CheckpointError: if they are missing or of another form.
        """
        family = family_of(spec)
        tower = family.load_vision(spec, device=device, dtype=dtype, quantized=quantized)
        projects = settings.projects_rows(spec)
        projector = family.load_projector(spec, device=device, dtype=dtype) if projects else None
        return cls(make_encoder(tower), spec, settings, projector)

    @torch.inference_mode()
    def __call__(
        self, partitions: Sequence[Pixels], sizes: Sequence[Size], seeds: Sequence[int]
    ) -> list[KeptTokens]:
        """Kept tokens of each image.

        Args:
            partitions: uint8 [P, 3, S, S] per image, or what else `Geometry.cut` gives.
            sizes: (height, width) in pixels of each image.
            seeds: int64 per image, derived from its content; only `random` looks at it.
        """
        layouts = [self._layout(height, width) for height, width in sizes]
        whole = isinstance(self.images, WholeImages)
        each_has = 1 if whole else self.spec.num_patches
        patches = [len(pieces) * each_has for pieces in partitions]
        groups = micro_batches(patches, self.encoder.micro_batch)
        device = self.encoder.tower.device
        uploaded = upload_ahead((partitions[group] for group in groups), device)
        found = []
        for group, pixels in zip(groups, uploaded, strict=True):
            reduced = self._reduce(pixels, layouts[group], seeds[group])
            found.append(ReducedImages(*map(download, reduced)))
        wait_for(device)
        each = [
            kept
            for group, reduced in zip(groups, found, strict=True)
            for kept in _split(reduced, layouts[group], sizes[group], self._projects)
        ]
        return each

    def _reduce(
        self, pixels: Tensor, layouts: Sequence[PartitionLayout], seeds: Sequence[int]
    ) -> ReducedImages:
        """One micro-batch; nothing waits for the device, unless sub-images are skipped."""
        wanted = [self._budget(one) for one in layouts]
        if self.shrinker is not None:
            evidence = self._begin(layouts, seeds, wanted, torch.device("cpu"))
            return self._reduce_small(self.shrinker, evidence, pixels, torch.tensor(wanted))
        evidence = self._begin(layouts, seeds, wanted, pixels.device)
        budget = upload(torch.tensor(wanted), pixels.device)
        if isinstance(self.images, WholeImages):
            return self._reduce_whole(self.images, evidence, pixels, layouts, budget)
        found = self._reduce_squares(self.images, evidence, pixels, budget)
        return resize_grids(found, layouts) if self._resizes else found

    def _reduce_squares(
        self, images: SquareImages, evidence: Evidence, pixels: Tensor, budget: Tensor
    ) -> ReducedImages:
        """One micro-batch of partitions that are encoded each by itself."""
        vision, present = images.encoder, evidence.layout.present
        hidden, encoded = vision.embed(pixels), present
        evidence = self._look_first(images, evidence, hidden)
        if self.skips:
            evidence, encoded = self.method.skip(evidence, budget, self.options)
            hidden = hidden[encoded[present]]
        rows, final = rows_of(encoded), images.encode(hidden)
        evidence = self._look(images, evidence, final, rows)
        if self._all_features:
            every = self._projected(vision.finish_all(final))[rows]
            evidence = replace(evidence, features=every)
        reduction = self._decide(evidence, budget)
        features = self._of_all(reduction, evidence)
        if features is None:
            num_tokens = evidence.layout.valid.shape[-1]
            row = rows.gather(1, reduction.source // num_tokens)
            features = vision.finish(final, row, reduction.source % num_tokens)
        return self._reduced(reduction, features)

    def _reduce_whole(
        self,
        images: WholeImages,
        evidence: Evidence,
        pixels: Tensor,
        layouts: Sequence[PartitionLayout],
        budget: Tensor,
    ) -> ReducedImages:
        """One micro-batch of images that are encoded as a whole."""
        final, shape = images.encode(pixels, layouts), evidence.layout.valid.shape
        rows = token_rows(layouts, shape[1], pixels.device)
        evidence = self._look(images, evidence, final, rows)
        if self._all_features:
            every = self._projected(images.encoder.finish_all(final))[rows]
            evidence = replace(evidence, features=every.unflatten(1, shape[1:]))
        reduction = self._decide(evidence, budget)
        features = self._of_all(reduction, evidence)
        if features is None:
            features = images.encoder.finish(final, rows.gather(1, reduction.source))
        return self._reduced(reduction, features)

    def _reduce_small(
        self, shrinker: Shrinker, evidence: Evidence, pixels: Tensor, budget: Tensor
    ) -> ReducedImages:
        """One micro-batch of partitions that are encoded small; decided on the host."""
        reduction = self._decide(evidence, budget)
        features = shrinker.encode(pixels, evidence, budget).at(reduction.source)
        return self._reduced(reduction, features)

    def _reduced(self, reduction: Reduction, features: Tensor) -> ReducedImages:
        """Rows as they travel: behind the projector where they are, and are not yet."""
        if self._projects and not self.needs.projected:
            assert self.projector is not None, "checked when this was made"
            features = self.projector(features)
        return ReducedImages(features, reduction.place, reduction.count, reduction.budgets)

    def _begin(
        self,
        layouts: Sequence[PartitionLayout],
        seeds: Sequence[int],
        wanted: Sequence[int],
        device: torch.device,
    ) -> Evidence:
        return Evidence(
            layout=LayoutBatch.stack(layouts, device=device),
            seeds=upload(torch.tensor(seeds), device),
            max_rows=max(map(min, wanted, (one.num_valid for one in layouts))),
        )

    def _look_first(self, images: SquareImages, evidence: Evidence, hidden: Tensor) -> Evidence:
        return images.look_first(evidence, hidden)

    def _look(self, images: Any, evidence: Evidence, final: Any, rows: Tensor) -> Evidence:
        """`images` and `final` of a kind."""
        found: Evidence = images.look(evidence, final, rows)
        return found

    def _decide(self, evidence: Evidence, budget: Tensor) -> Reduction:
        shown = evidence
        if not (self.needs.features or self.needs.projected):
            shown = replace(evidence, features=None)
        elif evidence.features is not None and self.spec.num_taps:
            own = evidence.features.shape[-1] // (1 + self.spec.num_taps)
            shown = replace(evidence, features=evidence.features[..., :own])
        return self.method.reduce(shown, budget, self.options)

    def _projected(self, features: Tensor) -> Tensor:
        """Features of all tokens, projected where rows are taken behind the projector."""
        if self.needs.projected:
            assert self.projector is not None, "checked when this was made"
            features = self.projector(features)
        return features

    def _of_all(self, reduction: Reduction, evidence: Evidence) -> Tensor | None:
        """[B, K, C] where features of all visual tokens are there, else None."""
        if reduction.weights is not None:
            assert evidence.features is not None, "a method that merges says so"
            return weighted_rows(reduction.weights, evidence.features)
        if evidence.features is None:
            return None
        index = reduction.source[..., None].expand(-1, -1, evidence.features.shape[-1])
        return evidence.features.flatten(1, 2).gather(1, index)

    def _layout(self, height: int, width: int) -> PartitionLayout:
        transposed = self.settings.transposed_grid
        layout = self.spec.layout(height, width, transposed_grid=transposed)
        return layout.dense() if self.method.keeps_all else layout

    def _budget(self, layout: PartitionLayout) -> int:
        most, own = layout.num_partitions * layout.num_tokens, layout.num_nominal
        if self.method.keeps_all:
            return most
        basis = "image" if self.method.own_basis else self.settings.basis_for(self.spec)
        count = token_budget_to_count(
            self.settings.token_budget, nominal=self.spec.nominal_tokens, own=own, basis=basis
        )
        return most if count is None else min(count, most)


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


def _split(
    reduced: ReducedImages,
    layouts: Sequence[PartitionLayout],
    sizes: Sequence[Size],
    projected: bool,
) -> list[KeptTokens]:
    counts = reduced.num_rows.tolist()
    return [
        KeptTokens(
            features=reduced.features[row, :count],
            place=reduced.place[row, :count],
            budgets=reduced.budgets[row, : layout.num_partitions],
            num_dense=layout.num_dense,
            size=size,
            projected=projected,
        )
        for row, (count, layout, size) in enumerate(zip(counts, layouts, sizes, strict=True))
    ]
