"""Which frame of an animation and which page of a TIFF is the picture: mostly the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PIL import Image
from PIL.ImageFile import ImageFile

MAX_FRAMES: Final = 100
MAX_PIXELS_OF_FRAMES: Final = 200_000_000
"""So many frames, or frames of so many pixels, are looked at: a count, not a clock, so that every
machine finds the same."""
MAX_PAGES: Final = 64

_ANIMATED: Final = ("GIF", "PNG", "WEBP", "AVIF")
_NEARLY_ONE: Final = 4  # of 255: what lossy compression makes of one colour
_THUMBNAIL: Final = 4  # times as many pixels has what it is a thumbnail of, or more
_NEW_SUBFILE_TYPE: Final = 254
_REDUCED: Final = 1


def may_move(image: ImageFile) -> bool:
    """Whether other frames may follow; of a GIF only looking for them tells."""
    return image.format in _ANIMATED and (
        image.format == "GIF" or bool(getattr(image, "is_animated", False))
    )


def is_one_colour(image: Image.Image) -> bool:
    """Of an RGB image."""
    ranges = image.getextrema()
    return all(high - low <= _NEARLY_ONE for low, high in ranges)  # type: ignore[misc]  # RGB: pairs.


def first_that_shows(
    image: ImageFile, as_rgb: Callable[[Image.Image], Image.Image]
) -> tuple[int, Image.Image] | None:
    """Number, from 1, and RGB of the first frame that is not of one colour.

    None if no frame is, as far as is looked (`MAX_FRAMES`) and as far as frames decode.
    """
    most = min(MAX_FRAMES, max(2, MAX_PIXELS_OF_FRAMES // (image.width * image.height)))
    for index in range(1, most):
        try:
            image.seek(index)
            image.load()
        except MemoryError:
            raise
        except Exception:  # The end, or damage: what came before it is what there is.
            return None
        shown = as_rgb(image)
        if not is_one_colour(shown):
            return index + 1, shown
    return None


def main_page(pages: ImageFile) -> int:
    """Number, from 0, of the page of a TIFF that is the picture: the first, or what it is a
    thumbnail of.

    A first page is a thumbnail if it says so (NewSubfileType), or if another of the same shape has
    four times its pixels or more. Then it is the largest page that does not say so, of several the
    first; 64 are looked at, up to the first damaged one.

    Args:
        pages: opened for this alone, since it is left at some page.
    """
    sizes, reduced = [pages.size], [_is_reduced(pages)]
    for index in range(1, MAX_PAGES):
        try:
            pages.seek(index)
        except MemoryError:
            raise
        except Exception:  # Damage: the pages before it are those that there are.
            break
        sizes.append(pages.size)
        reduced.append(_is_reduced(pages))
    whole = [i for i in range(1, len(sizes)) if not reduced[i]]
    if not reduced[0]:
        whole = [i for i in whole if _is_thumbnail(sizes[0], sizes[i])]
    return max(whole, key=lambda i: sizes[i][0] * sizes[i][1], default=0)


def _is_reduced(page: ImageFile) -> bool:
    kind = page.tag_v2.get(_NEW_SUBFILE_TYPE, 0)  # type: ignore[attr-defined]  # A TIFF.
    return isinstance(kind, int) and bool(kind & _REDUCED)


def _is_thumbnail(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Of the same shape, give or take a pixel of the smaller."""
    (width, height), (whole_width, whole_height) = small, large
    scale = whole_width / width
    same_shape = abs(whole_height / scale - height) <= 1
    return same_shape and whole_width * whole_height >= _THUMBNAIL * width * height
