"""Partitions of a picture as the LLaVA-Next image processor cuts them, with labels per patch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from lab.rendering.drawing import draw_picture
from lab.rendering.geometry import PARTITION_SIZE, best_canvas, content_size
from lab.rendering.picture import Picture
from lab.rendering.vocabulary import (
    BAR,
    FIRST_GLYPH,
    MAX_PLACES,
    NUM_CLASSES,
    NUM_LEVELS,
    NUM_OWNERS,
    SMALL_TEXT,
)
from lab.training.config import PATCH_SIZE, PATCHES_PER_PARTITION

__all__ = [
    "IGNORED",
    "LABELS",
    "LabelledPartitions",
    "cut_image",
    "cut_picture",
    "label_patches",
]

IGNORED = 255
# Columns of a patch's labels, and how many values each has; the last is 1 where an object's
# centre lies.
LABELS = {
    "class": NUM_CLASSES,
    "place": MAX_PLACES + 1,
    "owner": NUM_OWNERS,
    "level": NUM_LEVELS,
    "centre": 2,
}
# A patch shows a class from this share of its pixels, nothing below the other; between, no label.
_CONTENT_SHARE, _NOTHING_SHARE = 0.20, 0.08
# Below this scale glyphs in the full-image cannot be read: they are labelled as small text.
_LEAST_SCALE = 0.72
_Bytes = npt.NDArray[np.uint8]


class LabelledPartitions(NamedTuple):
    """Partitions of one picture, full-image first, then the sub-images row by row.

    Attributes:
        pixels: `[P, 3, S, S]`, before rescaling and normalising.
        labels: `[P, N, len(LABELS)]`; in the first column `IGNORED` is unclear.
    """

    pixels: _Bytes
    labels: _Bytes


def cut_picture(picture: Picture) -> LabelledPartitions:
    """The labelled partitions of a picture."""
    drawn, nearest = draw_picture(picture, with_masks=True), Image.Resampling.NEAREST
    counts = list(LABELS.values())[: len(drawn.masks)]
    columns = [
        _label(cut_image(mask, nearest), count)
        for mask, count in zip(drawn.masks, counts, strict=True)
    ]
    columns[1:] = [np.where(column == IGNORED, 0, column) for column in columns[1:]]
    labels = np.stack([*columns, np.zeros_like(columns[0])], axis=-1)
    _blur_small_text(labels[0], picture)
    _mark_centres(labels, picture)
    pixels = cut_image(drawn.image, Image.Resampling.BICUBIC)
    return LabelledPartitions(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels)


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


def _label(mask_PSS: _Bytes, num_values: int) -> _Bytes:
    """`[P, N]`, see `label_patches`."""
    side = PARTITION_SIZE // PATCH_SIZE
    patches = mask_PSS.reshape(-1, side, PATCH_SIZE, side, PATCH_SIZE).swapaxes(2, 3)
    labels = label_patches(patches.reshape(-1, PATCH_SIZE * PATCH_SIZE), num_values)
    return labels.reshape(-1, PATCHES_PER_PARTITION)


def label_patches(flat: _Bytes, num_values: int) -> _Bytes:
    """`[n]`: the value that covers most of each patch, 0 for little, `IGNORED` between.

    Args:
        flat: `[n, pixels]`, values below `num_values`.
    """
    offset = np.arange(len(flat), dtype=np.int64)[:, None] * num_values
    counts = np.bincount((flat + offset).ravel(), minlength=len(flat) * num_values)
    counts = counts.reshape(len(flat), num_values)[:, 1:]
    share = counts.max(axis=1) / flat.shape[1]
    labels = np.where(share >= _CONTENT_SHARE, counts.argmax(axis=1) + 1, 0)
    labels[(share > _NOTHING_SHARE) & (share < _CONTENT_SHARE)] = IGNORED
    return labels.astype(np.uint8)


def _blur_small_text(labels: _Bytes, picture: Picture) -> None:
    """Makes text of a full-image that is too small to read just that."""
    if PARTITION_SIZE / max(content_size(picture.width, picture.height)) >= _LEAST_SCALE:
        return
    is_text = (labels[:, 0] >= FIRST_GLYPH) & (labels[:, 0] < BAR)
    labels[is_text, 0] = SMALL_TEXT
    labels[is_text, 1:] = 0


def _mark_centres(labels: _Bytes, picture: Picture) -> None:
    """Gives the patch of an object's centre its class, in the full-image and in its sub-image."""
    width, height = content_size(picture.width, picture.height)
    canvas_h, canvas_w = best_canvas(picture.width, picture.height)
    for item in picture.objects:
        x, y = item.x + (canvas_w - width) // 2, item.y + (canvas_h - height) // 2
        cell = int(y // PARTITION_SIZE) * (canvas_w // PARTITION_SIZE) + int(x // PARTITION_SIZE)
        full_x, full_y = item.x / width * PARTITION_SIZE, item.y / height * PARTITION_SIZE
        for partition, px, py in ((0, full_x, full_y), (1 + cell, x, y)):
            column, row = int(px % PARTITION_SIZE), int(py % PARTITION_SIZE)
            patch = row // PATCH_SIZE * (PARTITION_SIZE // PATCH_SIZE) + column // PATCH_SIZE
            if labels[partition, patch, 0] in (0, IGNORED, 1 + item.class_id):
                labels[partition, patch, 0] = 1 + item.class_id
                labels[partition, patch, -1] = 1
