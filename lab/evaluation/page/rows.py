"""Merged rows for people: which patches each sums, and how much of each, as colours.

Legend: K rows, P partitions, N patches.
"""

from __future__ import annotations

import colorsys
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.base import Evidence, Method, Reduction
from hired_core.vlm.settings import ReductionSettings

__all__ = [
    "LEVELS",
    "OPACITY",
    "Watched",
    "colour_of",
    "inside_note",
    "levels_of",
    "resized_note",
    "tinted",
]

LEVELS: Final = 9
"""Steps of opacity between nothing and a row's largest weight."""
OPACITY: Final = 0.5
"""Of a row's largest weight; as in script.js."""
_GOLDEN_ANGLE: Final = 137.508

Floats = npt.NDArray[np.float64]


class Watched:
    """A method that keeps what it returned last; all else is the method's own."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.reduction: Reduction | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        self.reduction = self._method.reduce(evidence, budget, options)
        return self.reduction

    def weights(self, num_patches: int) -> Floats | None:
        """float64 [K, P, N] of the one image that was reduced; None of a selection."""
        found = self.reduction
        if found is None or found.weights is None:
            return None
        rows = found.weights[0, : int(found.count[0])].to(torch.float64).cpu()
        weights: Floats = rows.unflatten(-1, (-1, num_patches)).numpy()
        return weights


def inside_note(settings: ReductionSettings, spec: ModelSpec) -> str:
    """Of a method inside the language model, in words: what is left there depends on the question
    and is not drawn. Empty where there is none."""
    schedule = settings.schedule(spec.nominal_tokens, spec.num_text_layers)
    if schedule is None:
        return ""
    steps = zip(schedule.counts, schedule.layers, strict=True)
    left = ", ".join(f"at most {count} from layer {layer + 1} on" for count, layer in steps)
    return (
        f"The language model is given what is drawn; of its {spec.num_text_layers} layers the "
        f"later ones see fewer: {left}. Which those are depends on the question."
    )


def resized_note(layout: PartitionLayout, method: Method) -> str:
    """Of an unmodified model that resizes the tokens of this image, in words; else empty."""
    if layout.shrunk is None or not method.keeps_all:
        return ""
    _, (rows, cols) = layout.unpadded()
    small = f"{layout.shrunk[0]} x {layout.shrunk[1]}"
    return f"The model resizes the {rows} x {cols} tokens of the sub-images to {small}."


def levels_of(weights: Floats) -> list[list[int]]:
    """For each row, pairs of a patch (p * N + n) and its level 1..LEVELS, one after the other.

    The level is the weight's size, as a share of the row's largest, rounded up; shares below half a
    level are left out, as they would not show.
    """
    found = []
    for row in np.abs(weights).reshape(len(weights), -1):
        share = row / max(row.max(initial=0.0), 1e-12)
        patches = np.flatnonzero(share >= 0.5 / LEVELS)
        level = np.ceil(share[patches] * LEVELS - 1e-9).astype(int)
        found.append(np.stack([patches, level], axis=-1).ravel().tolist())
    return found


def colour_of(row: int) -> tuple[int, int, int]:
    """RGB; neighbours are far apart in hue, as in script.js."""
    hue = row * _GOLDEN_ANGLE % 360 / 360
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, 0.55, 0.8))
    return red, green, blue


def tinted(pixels: npt.NDArray[np.uint8], levels: list[list[int]], first: int, side: int) -> Any:
    """uint8 [H, W, 3] under the colours of all rows, later ones over earlier ones.

    Args:
        pixels: uint8 [H, W, 3], a partition at a multiple of its `side` patches.
        first: p * N of the partition.
    """
    step, shown = pixels.shape[0] // side, pixels.astype(np.float64)
    for row, pairs in enumerate(levels):
        for patch, level in zip(pairs[::2], pairs[1::2], strict=True):
            if 0 <= patch - first < side * side:
                top, left = (step * place for place in divmod(patch - first, side))
                part = shown[top : top + step, left : left + step]
                part += (np.array(colour_of(row)) - part) * (OPACITY * level / LEVELS)
    return shown.round().astype(np.uint8)
