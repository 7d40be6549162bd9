"""Encoded image bytes -> RGB pixels, with limits checked before anything is decoded.

The bytes are untrusted: only raster formats of an allow-list are opened, the pixel count is read
from the header first, and every failure is an `ImageError` with a stable code.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from hired_core.geometry.canvas import Size
from hired_core.images.damaged import salvage
from hired_core.images.eight_bits import GREY_MODES, grey_in_eight_bits, is_wide, widened
from hired_core.images.frames import first_that_shows, is_one_colour, main_page, may_move
from hired_core.images.ground import lay_over_ground
from hired_core.images.opening import check_pixels, open_image
from hired_core.images.other_kinds import what_else
from hired_core.images.upright import ON_ITS_SIDE, orientation, upright

DEFAULT_MAX_PIXELS: Final = 100_000_000

_SCALES: Final = (8, 4, 2)


class ImageError(ValueError):
    """An image that cannot be used; `code` is one of the pipeline's row error codes."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """An upright 8-bit RGB image.

    Attributes:
        size: (height, width) of the whole, of which `image` may be a smaller copy.
        notes: what is not simply as in the file; see `hired_core.images.notes`.
    """

    image: Image.Image
    size: Size
    notes: tuple[str, ...] = ()


def decode_image(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """The image as 8-bit RGB, upright, as a person would see it.

    The format is told by content, not by name. Animations give their first frame that is not of one
    colour, TIFFs their first page unless it is a thumbnail. EXIF rotation is applied. What has more
    than 8 bits is scaled by its range, transparency is laid over white or, where that would show
    nothing, over black; CMYK and palettes are converted. On opaque 8-bit images this equals
    `Image.convert("RGB")`.

    Raises:
        ImageError: image_empty, image_unidentified, image_is_html and the like,
            image_too_many_pixels, image_truncated, image_corrupt or, where memory is limited,
            image_too_much_memory.
    """
    return decode_at_least(data, lambda size: size, max_pixels=max_pixels).image


def decode_at_least(
    data: bytes,
    needed: Callable[[Size], Size],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    accept_truncated: bool = False,
) -> Decoded:
    """As `decode_image`, but a JPEG of which less is needed is decoded at 1/2, 1/4 or 1/8.

    libjpeg then computes fewer pixels from each block of 8 x 8, which is faster than to decode and
    shrink, and not quite the same. Both sides have to divide: what is cut from a copy with parts of
    a pixel added would be out of place.

    Args:
        needed: the least (height, width) that will do, given those of the whole upright image.
        accept_truncated: an image that ends in the middle is cut to the part that is there.

    Raises:
        ImageError: as `decode_image`.
    """
    if not data:
        raise ImageError("image_empty", "zero bytes")
    with _pixel_limit(max_pixels):
        try:
            return _Decoding(data, needed, max_pixels, accept_truncated).result()
        except ImageError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
            detail = str(exc).partition(", could be")[0]
            raise ImageError("image_too_many_pixels", detail) from exc
        except UnidentifiedImageError as exc:
            raise ImageError(*what_else(data)) from exc
        except Exception as exc:  # Pillow's decoders raise half a dozen unrelated types.
            raise ImageError(_code_of(exc), f"{type(exc).__name__}: {exc}") from exc


@contextlib.contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's own limit, and no warning but that it is exceeded.

    Pillow allocates what the frames of a GIF claim as it opens it, before there is a size to look
    at; only its own check comes in time.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF or TIFF tags; pixels decide.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


class _Decoding:
    """One image on its way, with the notes that it gathers."""

    def __init__(
        self,
        data: bytes,
        needed: Callable[[Size], Size],
        max_pixels: int,
        accept_truncated: bool,
    ) -> None:
        self._data = data
        self._needed = needed
        self._max_pixels = max_pixels
        self._accept_truncated = accept_truncated
        self._notes: list[str] = []
        self._size: Size | None = None

    def result(self) -> Decoded:
        opened, self._notes = open_image(self._data, max_pixels=self._max_pixels)
        with opened as image:
            width, height = image.size
            if width < 1 or height < 1:
                raise ImageError("image_corrupt", f"a size of {width} x {height}")
            self._prepare(image)
            loaded = self._load(image)
            rgb = self._as_rgb(loaded)
            if loaded is image and may_move(image) and is_one_colour(rgb):
                rgb = self._frame_that_shows(image, rgb)
        size = self._size or (rgb.height, rgb.width)
        return Decoded(image=rgb, size=size, notes=tuple(dict.fromkeys(self._notes)))

    def _prepare(self, image: ImageFile) -> None:
        """Before it is decoded: which page of it, and how large."""
        if image.format == "TIFF" and getattr(image, "is_animated", False):
            self._turn_to_page(image)
        elif isinstance(image, JpegImageFile):
            # Pillow shrinks no other format, and some tell their orientation only once decoded.
            self._size = _reduce(image, self._needed)

    def _turn_to_page(self, image: ImageFile) -> None:
        with open_image(self._data, max_pixels=self._max_pixels)[0] as pages:
            index = main_page(pages)
        if index:
            image.seek(index)
            check_pixels(image.size, self._max_pixels)
            self._notes.append(f"page_{index + 1}")

    def _load(self, image: ImageFile) -> Image.Image:
        """Itself, decoded; or what can be saved of it where it is damaged."""
        wide = is_wide(image)
        try:
            image.load()
        except Exception as exc:
            accept = self._accept_truncated
            saved = salvage(self._data, image.format, _code_of(exc), accept=accept)
            if saved is None:
                raise
            self._size = None
            self._notes = [*(n for n in self._notes if n != "end_missing"), saved.note]
            return saved.image
        return self._widen(image) if wide else image

    def _widen(self, image: ImageFile) -> Image.Image:
        again, _ = open_image(self._data, max_pixels=self._max_pixels)
        with again:
            again.seek(image.tell())
            wider = widened(image, again)
        if wider is None:
            return image
        self._notes.append("range_scaled")
        return upright(wider, orientation(image))

    def _as_rgb(self, image: Image.Image) -> Image.Image:
        return self._to_rgb(upright(image, orientation(image)))

    def _to_rgb(self, image: Image.Image) -> Image.Image:
        if image.mode in GREY_MODES:
            grey, is_scaled = grey_in_eight_bits(image)
            self._note(is_scaled, "range_scaled")
            return grey.convert("RGB")
        if image.has_transparency_data:
            over, is_black = lay_over_ground(image)
            self._note(is_black, "ground_black")
            return over
        return image if image.mode == "RGB" else image.convert("RGB")

    def _note(self, is_so: bool, note: str) -> None:
        if is_so:
            self._notes.append(note)

    def _frame_that_shows(self, image: ImageFile, first: Image.Image) -> Image.Image:
        """`first`, a copy of it, where no frame does."""
        first, notes = first.copy(), self._notes
        self._notes = []  # Those of frames that are passed by are of no interest.
        found = first_that_shows(image, self._as_rgb)
        if found is None:
            self._notes = notes
            return first
        index, shown = found
        self._notes = [*(n for n in notes if n != "ground_black"), *self._notes, f"frame_{index}"]
        return shown


def _reduce(image: JpegImageFile, needed: Callable[[Size], Size]) -> Size:
    """Has it decoded smaller if that will do; the (height, width) of the whole upright image."""
    width, height = image.size
    size = (width, height) if orientation(image) in ON_ITS_SIDE else (height, width)
    least = needed(size)
    for scale in _SCALES:
        if all(n % scale == 0 and n // scale >= few for n, few in zip(size, least, strict=True)):
            image.draft(None, (width // scale, height // scale))
            break
    return size


def _code_of(exc: Exception) -> str:
    # libjpeg's lack of memory is "broken data" by the time Pillow tells of it: image_corrupt.
    text = str(exc).lower()
    if isinstance(exc, MemoryError) or "out of memory" in text:
        return "image_too_much_memory"
    truncated = any(word in text for word in ("truncated", "not enough", "unexpected end"))
    return "image_truncated" if truncated else "image_corrupt"
