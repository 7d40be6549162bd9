"""Images to the rows that the language model will see: the vision half as one call.

Legend: B images, P partitions, N visual tokens, K rows, M partitions of a micro-batch, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hired_core.choices import LayerAt
from hired_core.geometry.base import Pixels
from hired_core.geometry.canvas import Size
from hired_core.geometry.layout import LayoutBatch, PartitionLayout
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.base import Evidence, Reduction, weighted_rows
from hired_core.methods.budget import token_budget_to_count
from hired_core.models.registry import family_of
from hired_core.transfer import download, upload, upload_ahead, wait_for
from hired_core.vision.packed import Encoder, PackedEncoder, make_encoder
from hired_core.vision.tower import FinalLayer, VisionEncoder
from hired_core.vlm.fitting import require_fit
from hired_core.vlm.resized_grids import ReducedImages, resize_grids
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.shrinking import Shrinker
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
        self.whole: WholeImages | None = None
        self.shrinker: Shrinker | None = None
        if isinstance(vision, PackedEncoder):
            self.whole = WholeImages(encoder=vision, needs=self.needs)
        else:
            size = spec.geometry.patch_size * spec.geometry.merge
            self.shrinker = Shrinker.of(self.method, self.options, vision, settings.method, size)
        self._all_features = self.method.merges or self.needs.features or self.needs.projected
        # Before anything is encoded only the initial layer's attention is known.
        self._looks_first = self.needs.full_image_layer == "initial"

    @classmethod
    def load(
        cls,
        spec: ModelSpec,
        settings: ReductionSettings,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> VisionHalf:
        """With the weights of the checkpoint; the projector's only where the method needs it.

        Raises:
            CheckpointError: if they are missing or of another form.
        """
        family = family_of(spec)
        vision = make_encoder(family.load_vision(spec, device=device, dtype=dtype))
        projects = settings.projects_rows(spec)
        projector = family.load_projector(spec, device=device, dtype=dtype) if projects else None
        return cls(vision, spec, settings, projector)

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
        each_has = 1 if self.whole is not None else self.spec.num_patches
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
        if self.whole is not None:
            return self._reduce_whole(self.whole, pixels, layouts, seeds, wanted)
        vision = self.vision
        if self.shrinker is not None:
            evidence = self._begin(layouts, seeds, wanted, torch.device("cpu"))
            return self._reduce_small(self.shrinker, evidence, pixels, torch.tensor(wanted))
        evidence = self._begin(layouts, seeds, wanted, pixels.device)
        budget = upload(torch.tensor(wanted), pixels.device)
        present = evidence.layout.present
        hidden, encoded = vision.embed(pixels), present
        evidence = self._look_first(evidence, hidden)
        if self.skips:
            evidence, encoded = self.method.skip(evidence, budget, self.options)
            hidden = hidden[encoded[present]]
        rows, final = _rows(encoded), vision.encode(hidden, *self._looked_at())
        evidence = self._look(evidence, final, rows)
        reduction = self._decide(evidence, budget)
        features = self._behind(self._features(reduction, evidence, final, rows))
        found = ReducedImages(features, reduction.place, reduction.count, reduction.budgets)
        return resize_grids(found, layouts) if self._resizes else found

    def _behind(self, features: Tensor) -> Tensor:
        """Rows as they travel: behind the projector where they are, and are not yet."""
        if not self._projects or self.needs.projected:
            return features
        assert self.projector is not None, "checked when this was made"
        projected: Tensor = self.projector(features)
        return projected

    def _reduce_small(
        self, shrinker: Shrinker, evidence: Evidence, pixels: Tensor, budget: Tensor
    ) -> ReducedImages:
        """One micro-batch of partitions that are encoded small; decided on the host."""
        reduction = self._decide(evidence, budget)
        features = self._behind(shrinker.encode(pixels, evidence, budget).at(reduction.source))
        return ReducedImages(features, reduction.place, reduction.count, reduction.budgets)

    def _reduce_whole(
        self,
        whole: WholeImages,
        pixels: Tensor,
        layouts: Sequence[PartitionLayout],
        seeds: Sequence[int],
        wanted: Sequence[int],
    ) -> ReducedImages:
        """One micro-batch of images that are encoded as a whole."""
        evidence = self._begin(layouts, seeds, wanted, pixels.device)
        final, shape = whole.encode(pixels, layouts), evidence.layout.valid.shape
        rows = token_rows(layouts, shape[1], pixels.device)
        evidence = whole.look(evidence, final, rows)
        if self._all_features:
            every = self._projected(whole.encoder.finish_all(final))[rows]
            evidence = replace(evidence, features=every.unflatten(1, shape[1:]))
        reduction = self._decide(evidence, upload(torch.tensor(wanted), pixels.device))
        found = self._of_all(reduction, evidence)
        if found is None:
            found = whole.encoder.finish(final, rows.gather(1, reduction.source))
        found = self._behind(found)
        return ReducedImages(found, reduction.place, reduction.count, reduction.budgets)

    @property
    def vision(self) -> VisionEncoder:
        """What encodes squares."""
        assert isinstance(self.encoder, VisionEncoder), "asked for squares of a whole image"
        return self.encoder

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

    def _look_first(self, evidence: Evidence, embedded: Tensor) -> Evidence:
        """What is known before anything is encoded."""
        if not self._looks_first:
            return evidence
        full_images = embedded[_rows(evidence.layout.present)[:, 0]]
        attention = self.vision.attention_before(0, full_images)
        return replace(evidence, full_image_attention=attention)

    def _looked_at(self) -> tuple[set[int], set[int], int | None]:
        """Indices of the layers whose attention, received attention and keys are wanted."""
        needs, index_of = self.needs, self.vision.index_of
        late = not self._looks_first and needs.full_image_layer is not None
        shown = {*needs.cls_layers, *([needs.full_image_layer] if late else [])}
        keys = None if needs.keys_layer is None else index_of(needs.keys_layer)
        attention = {index_of(layer) for layer in shown if layer is not None}
        return attention, {index_of(layer) for layer in needs.received_layers}, keys

    def _look(self, evidence: Evidence, final: FinalLayer, rows: Tensor) -> Evidence:
        """What is known when all layers but the final one have run."""
        needs, vision = self.needs, self.vision

        def attention(layer: LayerAt) -> Tensor:
            return vision.attention_of(final, vision.index_of(layer))

        if needs.full_image_layer is not None and not self._looks_first:
            shown = attention(needs.full_image_layer)[rows[:, 0]]
            evidence = replace(evidence, full_image_attention=shown)
        received = {
            layer: vision.received_at(final, vision.index_of(layer))[rows]
            for layer in needs.received_layers
        }
        keys = None
        if needs.keys_layer is not None:
            keys = vision.keys_at(final, vision.index_of(needs.keys_layer))[rows]
        return replace(
            evidence,
            attention={layer: attention(layer)[rows] for layer in needs.cls_layers},
            received=received,
            keys=keys,
            features=self._every_feature(final)[rows] if self._all_features else None,
        )

    def _decide(self, evidence: Evidence, budget: Tensor) -> Reduction:
        shown = evidence
        if not (self.needs.features or self.needs.projected):
            shown = replace(evidence, features=None)
        elif evidence.features is not None and self.spec.num_taps:
            own = evidence.features.shape[-1] // (1 + self.spec.num_taps)
            shown = replace(evidence, features=evidence.features[..., :own])
        return self.method.reduce(shown, budget, self.options)

    def _every_feature(self, final: FinalLayer) -> Tensor:
        """[M, N, C] of the feature layer, projected where rows are taken behind the projector."""
        return self._projected(self.vision.finish_all(final))

    def _projected(self, features: Tensor) -> Tensor:
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

    def _features(
        self, reduction: Reduction, evidence: Evidence, final: FinalLayer, rows: Tensor
    ) -> Tensor:
        """[B, K, C]; of a selection only what is kept goes through the feature layer."""
        found = self._of_all(reduction, evidence)
        if found is not None:
            return found
        source, num_tokens = reduction.source, evidence.layout.valid.shape[-1]
        row, token = rows.gather(1, source // num_tokens), source % num_tokens
        return self.vision.finish(final, row, token)

    def _layout(self, height: int, width: int) -> PartitionLayout:
        transposed = self.settings.transposed_grid
        return self.spec.layout(height, width, transposed_grid=transposed)

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


def _rows(encoded: Tensor) -> Tensor:
    """int64 [B, P]: which row of all partitions encoded each one is; arbitrary for the others."""
    return (encoded.flatten().cumsum(0) - 1).view(encoded.shape)


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
