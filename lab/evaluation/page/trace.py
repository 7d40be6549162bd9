"""What the vision stage sees and keeps of one image, under any number of settings.

What is kept comes from the very `VisionHalf` that a job runs; nothing is selected anew here.
Legend: P partitions, N visual tokens of each, S a partition's side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hired_core.choices import WeightFormat
from hired_core.geometry.base import Geometry, Pixels
from hired_core.geometry.canvas import Size
from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.native import uncut
from hired_core.geometry.spec import ModelSpec
from hired_core.images.source import CutImage, cut_image
from hired_core.methods.base import Method
from hired_core.methods.scores import feature_importance_score, visual_content_score
from hired_core.models.registry import family_of, load_spec
from hired_core.vision.packed import Encoder, PackedEncoder, make_encoder
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.vision_half import KeptTokens, VisionHalf
from lab.evaluation.direct.shared_encoder import forget, sharing_encoder
from lab.evaluation.page.rows import Watched, inside_note, resized_note

__all__ = ["ImageTrace", "Selection", "Tracer", "kept_mask"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """What one way of selecting keeps.

    Attributes:
        keep: bool [P, N]; of merged rows, the tokens that any of them sums.
        num_kept: visual tokens that enter the language model.
        budgets: int64 [P], tokens given to each partition; `hired-upstream` keeps fewer.
        num_dense: visual tokens of the dense model; of a transposed grid it unpads others.
        num_left: visual tokens behind the language model's last layer.
        weights: float64 [K, P, N] of merged rows; None of a selection.
        note: what is not drawn, in words.
    """

    settings: ReductionSettings
    keep: Bools
    num_kept: int
    budgets: npt.NDArray[np.int64]
    num_dense: int
    num_left: int
    weights: Floats | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTrace:
    """One image on its way through the vision stage.

    Attributes:
        size: (height, width) of the image in pixels. `seed`: derived from its bytes.
        grid: (rows, cols) of sub-images. `side`: visual tokens along one side of a partition.
        partitions: uint8 [P, 3, S, S], the full-image first; what `Geometry.cut` gives.
        shown: the same without what no token covers at the right and below; cells, of an image that
            is encoded as a whole.
        has_full_image: whether the first of them is one; else it has no tokens.
        valid: bool [P, N]; False where a token lies in padding.
        content_scores: float64 [P-1], visual content scores.
        initial, final: float64 [P, N], CLS attention, or where there is no CLS token attention
            received, summed over heads and patches at the initial and the final layer. A method
            looks at the full-image's alone at the initial one.
    """

    size: Size
    seed: int
    grid: Size
    side: int
    partitions: Pixels
    shown: Pixels
    has_full_image: bool
    valid: Bools
    content_scores: Floats
    initial: Floats
    final: Floats
    selections: tuple[Selection, ...]


class Tracer:
    """Holds a vision tower and looks at one image at a time."""

    def __init__(self, vision: Encoder, spec: ModelSpec) -> None:
        self.vision = vision
        self.spec = spec
        # Of the image that was traced last; one that is encoded as a whole is so for each method.
        self._shared = sharing_encoder(vision.tower)

    @classmethod
    def load(
        cls,
        model: str,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        image_options: Mapping[str, Any] | None = None,
        quantized: WeightFormat | None = None,
    ) -> Tracer:
        """Of a checkpoint: "embedded", a folder or a Hugging Face id."""
        spec = load_spec(model, image_options=image_options)
        where = torch.device(device)
        tower = family_of(spec).load_vision(spec, device=where, dtype=dtype, quantized=quantized)
        return cls(make_encoder(tower), spec)

    def __call__(self, data: bytes, settings: Sequence[ReductionSettings]) -> ImageTrace:
        """The trace of an encoded image, cut as a job cuts it by default.

        Raises:
            ImageError: if the image cannot be used.
            LayoutError: if it is too elongated for every grid of the model.
        """
        forget(self._shared)
        cut = cut_image(data, self.spec.geometry)
        layout = self.spec.layout(*cut.size)
        initial, final = self._attention(cut.partitions, layout)
        whole = initial[0] if layout.has_full_image else initial.transpose(0, 1).flatten(1)
        scores = visual_content_score(whole, layout)
        return ImageTrace(
            size=cut.size,
            seed=cut.seed,
            grid=layout.grid,
            side=layout.side,
            partitions=cut.partitions,
            shown=shown_partitions(cut.partitions, layout, self.spec.geometry),
            has_full_image=layout.has_full_image,
            valid=layout.valid.numpy(),
            content_scores=scores.cpu().numpy(),
            initial=feature_importance_score(initial).cpu().numpy(),
            final=feature_importance_score(final).cpu().numpy(),
            selections=tuple(self._select(cut, each) for each in settings),
        )

    @torch.inference_mode()
    def _attention(self, pieces: Pixels, layout: PartitionLayout) -> tuple[Tensor, Tensor]:
        """float32 [P, H, N] at the initial and at the final layer."""
        vision, pixels = self.vision, torch.from_numpy(pieces).to(self.vision.tower.device)
        first, last = vision.index_of("initial"), vision.index_of("final")
        if isinstance(vision, PackedEncoder):
            packed = vision.embed(pixels, [layout.stitched])
            seen = vision.encode(packed, {first, last}).attention
            initial, final = (_in_cells(seen[index], layout) for index in (first, last))
            return initial, final
        embedded = vision.embed(pixels)
        initial = vision.attention_before(first, embedded)
        return initial, vision.attention_of(vision.encode(embedded), last)

    def reduce(self, trace: ImageTrace, settings: ReductionSettings) -> list[KeptTokens]:
        """What the language model is given of a traced image: a list of one."""
        return self._half(settings)([trace.partitions], [trace.size], [trace.seed])

    def _half(self, settings: ReductionSettings) -> VisionHalf:
        projector = self._projector if settings.projects_rows(self.spec) else None
        return VisionHalf(self._shared, self.spec, settings, projector)

    @cached_property
    def _projector(self) -> nn.Module:
        """Loaded for the first method that needs it."""
        tower = self.vision.tower
        return family_of(self.spec).load_projector(
            self.spec, device=tower.device, dtype=tower.dtype
        )

    def _select(self, cut: CutImage, settings: ReductionSettings) -> Selection:
        half = self._half(settings)
        watched = Watched(half.method)
        half.method = cast(Method, watched)  # All but `reduce` is the method's own.
        (tokens,) = half([cut.partitions], [cut.size], [cut.seed])
        layout = self.spec.layout(*cut.size, transposed_grid=settings.transposed_grid)
        weights = watched.weights(layout.num_tokens)
        placed: Bools = kept_mask(tokens.place, layout).numpy()
        if half.method.keeps_all:
            placed = layout.dense().valid.numpy()  # Also where the model resizes them.
        keep = placed if weights is None else (weights != 0).any(axis=0)
        rows = len(tokens.place)
        return Selection(
            settings=settings,
            keep=keep,
            num_kept=rows,
            budgets=tokens.budgets.numpy(),
            num_dense=tokens.num_dense,
            num_left=min(rows, settings.num_after(self.spec.nominal_tokens)),
            weights=weights,
            note=resized_note(layout, half.method) or inside_note(settings, self.spec),
        )


def shown_partitions(pieces: Pixels, layout: PartitionLayout, geometry: Geometry) -> Pixels:
    """uint8 [P, 3, S, S]: what visual tokens cover of each partition.

    Of an image that is encoded as a whole: of each cell its tokens, in the upper left corner; the
    first, elsewhere the full-image, is black.
    """
    token = geometry.patch_size * geometry.merge
    covered = layout.side * token
    if layout.has_full_image:
        return pieces[..., :covered, :covered]
    image, cols = uncut(pieces, layout.stitched), layout.stitched[1]
    found = np.zeros((layout.num_partitions, 3, covered, covered), np.uint8)
    for p in range(1, layout.num_partitions):
        places = layout.place[p][layout.valid[p]]
        top, left = int(places[0]) // cols, int(places[0]) % cols
        bottom, right = int(places[-1]) // cols + 1, int(places[-1]) % cols + 1
        inside = image[:, top * token : bottom * token, left * token : right * token]
        found[p, :, : inside.shape[1], : inside.shape[2]] = inside
    return found


def _in_cells(tokens: Tensor, layout: PartitionLayout) -> Tensor:
    """[P, H, N] of what visual tokens [n, H] of a whole image have; zeros in padding."""
    rows = layout.place.where(layout.valid, 0).to(tokens.device)
    found = tokens[rows] * layout.valid.to(tokens.device)[..., None]
    return found.transpose(1, 2)


def kept_mask(order: Tensor, layout: PartitionLayout) -> Tensor:
    """bool [P, N]: the tokens whose positions in the sequence are in `order`."""
    return torch.isin(layout.place, order)
