"""Training sequences: the image once, then several texts which do not see each other.

    <s> USER: _ | full-image | sub-images by rows, newlines | text 1 | text 2 | ...

Every text starts at the position right after the image, as it would alone. Legend: `B` images,
`L` tokens of a sequence, `T` of them in texts.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab.rendering.geometry import PARTITION_SIZE, best_canvas, content_size
from lab.training.config import PATCH_SIZE, PATCHES_PER_PARTITION

__all__ = [
    "NEWLINE",
    "NO_LABEL",
    "NO_TOKEN",
    "PackedImage",
    "TextTokens",
    "pack",
    "patch_at",
    "visual_order",
]

NEWLINE, NO_TOKEN, NO_LABEL = -1, -2, -100
_Ints = npt.NDArray[np.int64]


class TextTokens(NamedTuple):
    """Token ids of one text; the last `num_answer` are the answer with its end."""

    ids: list[int]
    num_answer: int


class PackedImage(NamedTuple):
    """One packed image. `visual`, `blocks` and `positions` are `[L]`, `ids` and `labels` `[T]`.

    Attributes:
        visual: row of the feature table at each place, `NEWLINE`, or `NO_TOKEN`.
        blocks: 0 for head and image, -1 for filling, and the number of the text from 1.
        positions: rotary position of each place.
        ids: token ids of the text area.
        labels: the next token where it belongs to an answer, else `NO_LABEL`.
    """

    visual: _Ints
    blocks: _Ints
    positions: _Ints
    ids: _Ints
    labels: _Ints


@functools.lru_cache(maxsize=8192)
def visual_order(width: int, height: int) -> tuple[int, ...]:
    """Visual tokens of an image in the order of HF's `pack_image_features`.

    Each is a row of the `[P * N]` feature table, or `NEWLINE`. The full-image comes first; the
    canvas rows and columns that show only padding are left out.
    """
    side = PARTITION_SIZE // PATCH_SIZE
    canvas_h, canvas_w = best_canvas(width, height)
    rows, cols = canvas_h // PATCH_SIZE, canvas_w // PATCH_SIZE
    cells = np.arange(PATCHES_PER_PARTITION, (rows * cols) + PATCHES_PER_PARTITION)
    grid = cells.reshape(rows // side, cols // side, side, side).swapaxes(1, 2).reshape(rows, cols)
    left, top = _padding(width, height)
    grid = grid[top : rows - top, left : cols - left]
    lines = np.concatenate((grid, np.full((len(grid), 1), NEWLINE)), axis=1)
    return (*range(PATCHES_PER_PARTITION), *lines.ravel().tolist())


def _padding(width: int, height: int) -> tuple[int, int]:
    """Columns and rows of patches on each side of the canvas that show only padding."""
    canvas_h, canvas_w = best_canvas(width, height)
    rows, cols = canvas_h // PATCH_SIZE, canvas_w // PATCH_SIZE
    if width / height > cols / rows:
        return 0, (rows - int(round(height * (cols / width), 7))) // 2
    return (cols - int(round(width * (rows / height), 7))) // 2, 0


def patch_at(width: int, height: int, x: float, y: float) -> tuple[int, int]:
    """Column and row of the patch that shows a place on the image's content.

    They are counted in patches of the canvas without its padding.
    """
    canvas_h, canvas_w = best_canvas(width, height)
    content_w, content_h = content_size(width, height)
    left, top = _padding(width, height)
    across = int(x + (canvas_w - content_w) // 2) // PATCH_SIZE - left
    down = int(y + (canvas_h - content_h) // 2) // PATCH_SIZE - top
    return (
        min(max(across, 0), canvas_w // PATCH_SIZE - 2 * left - 1),
        min(max(down, 0), canvas_h // PATCH_SIZE - 2 * top - 1),
    )


def pack(
    visual: tuple[int, ...], head: int, image_room: int, texts: list[TextTokens], text_room: int
) -> PackedImage:
    """The sequence of one image; texts that do not fit into `text_room` tokens are left out.

    `head` is the number of tokens before the image, and `image_room` what the image area of the
    batch holds.
    """
    length = head + image_room + text_room
    places = np.full(length, NO_TOKEN, dtype=np.int64)
    places[head : head + len(visual)] = visual
    blocks = np.full(length, -1, dtype=np.int64)
    blocks[: head + len(visual)] = 0
    positions = np.arange(length, dtype=np.int64)
    ids = np.zeros(text_room, dtype=np.int64)
    labels = np.full(text_room, NO_LABEL, dtype=np.int64)
    start = 0
    for number, text in enumerate(texts, start=1):
        end = start + len(text.ids)
        if end > text_room:
            continue
        ids[start:end] = text.ids
        labels[end - 1 - text.num_answer : end - 1] = text.ids[-text.num_answer :]
        area = slice(head + image_room + start, head + image_room + end)
        blocks[area] = number
        positions[area] = head + len(visual) + np.arange(len(text.ids))
        start = end
    return PackedImage(places, blocks, positions, ids, labels)
