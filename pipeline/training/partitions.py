"""Partitions of a scene as the LLaVA-Next image processor cuts them, with a label per patch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.evaluation.drawing import NUM_MASK_CLASSES, draw_masks, draw_scene
from pipeline.evaluation.scenes import PARTITION_SIZE, Scene, best_canvas, content_size
from pipeline.training.config import PATCH_SIZE, PATCHES_PER_PARTITION

__all__ = ["IGNORED", "NUM_PLACES", "LabelledPartitions", "cut_image", "cut_scene"]

IGNORED = 255
NUM_PLACES = 6
# A patch shows a class from this share of its pixels, nothing below the other; between, no label.
_CONTENT_SHARE, _NOTHING_SHARE = 0.20, 0.08
_Bytes = npt.NDArray[np.uint8]


class LabelledPartitions(NamedTuple):
    """Partitions of one scene, full-image first, then the sub-images row by row.

    Attributes:
        pixels: `[P, 3, S, S]`, before rescaling and normalising.
        classes: `[P, N]`, mask class of each patch, 0 for nothing, `IGNORED` for unclear.
        places: `[P, N]`, 1-5 for the place of the patch's glyph in its sign, 0 for no glyph.
    """

    pixels: _Bytes
    classes: _Bytes
    places: _Bytes


def cut_scene(scene: Scene) -> LabelledPartitions:
    """The labelled partitions of a scene."""
    class_mask, place_mask = draw_masks(scene)
    nearest = Image.Resampling.NEAREST
    classes = _label(cut_image(class_mask, nearest), NUM_MASK_CLASSES)
    places = _label(cut_image(place_mask, nearest), NUM_PLACES)
    pixels = cut_image(draw_scene(scene), Image.Resampling.BICUBIC)
    return LabelledPartitions(
        np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)),
        classes,
        np.where(places == IGNORED, 0, places).astype(np.uint8),
    )


def cut_image(image: Image.Image, resample: Image.Resampling) -> _Bytes:
    """`[P, S, S]`, or `[P, S, S, 3]`: the squeezed full-image, then the padded canvas's cells."""
    size = PARTITION_SIZE
    canvas_h, canvas_w = best_canvas(image.width, image.height)
    content = image.resize(content_size(image.width, image.height), resample)
    canvas = Image.new(image.mode, (canvas_w, canvas_h))
    canvas.paste(content, ((canvas_w - content.width) // 2, (canvas_h - content.height) // 2))
    full = np.asarray(image.resize((size, size), resample))
    cells = np.asarray(canvas).reshape(
        canvas_h // size, size, canvas_w // size, size, *full.shape[2:]
    )
    return np.concatenate((full[None], cells.swapaxes(1, 2).reshape(-1, *full.shape)))


def _label(mask_PSS: _Bytes, num_classes: int) -> _Bytes:
    """`[P, N]`: the class that covers most of each patch, 0 for little, `IGNORED` between."""
    side = PARTITION_SIZE // PATCH_SIZE
    patches = mask_PSS.reshape(-1, side, PATCH_SIZE, side, PATCH_SIZE).swapaxes(2, 3)
    flat = patches.reshape(-1, PATCH_SIZE * PATCH_SIZE)
    offset = np.arange(len(flat), dtype=np.int64)[:, None] * num_classes
    counts = np.bincount((flat + offset).ravel(), minlength=len(flat) * num_classes)
    counts = counts.reshape(len(flat), num_classes)[:, 1:]
    share = counts.max(axis=1) / flat.shape[1]
    labels = np.where(share >= _CONTENT_SHARE, counts.argmax(axis=1) + 1, 0)
    labels[(share > _NOTHING_SHARE) & (share < _CONTENT_SHARE)] = IGNORED
    return labels.astype(np.uint8).reshape(-1, PATCHES_PER_PARTITION)
