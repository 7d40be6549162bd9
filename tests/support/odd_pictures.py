"""Pictures that are stored in odd ways or a little damaged, and what is to be noted of each.

All are rendered here. What they show is known apart: `PICTURE`, or `GRADIENT` in any depth.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from tests.support.bad_images import encode, heic, picture

PICTURE = picture(size=(96, 64))
SIGNATURE = b"\x89PNG\r\n\x1a\n"
WRONG = b"\1\2\3\4"
ROTATED = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
"""An EXIF block: to be turned by a quarter."""


def gradient() -> npt.NDArray[np.float64]:
    """[64, 96] from 0 to 1, with a bright box."""
    values = np.tile(np.linspace(0, 0.6, 96), (64, 1))
    values[20:44, 30:60] = 1.0
    return values


def chunk(kind: bytes, body: bytes, crc: bytes | None = None) -> bytes:
    good = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + (good if crc is None else crc)


def chunks_of(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def png(
    *added: bytes,
    after: bytes = b"",
    spoil: bytes = b"",
    drop: bytes = b"",
    image: Image.Image = PICTURE,
    **options: Any,
) -> bytes:
    """A PNG with whole chunks before its pixels and `after` them; one sort's checksum spoilt."""
    parts = [SIGNATURE]
    for kind, body in chunks_of(encode(image, "PNG", **options)):
        if kind == b"IDAT" and added:
            parts, added = [*parts, *added], ()
        if kind == b"IEND":
            parts.append(after)
        if kind != drop:
            parts.append(chunk(kind, body, WRONG if kind == spoil else None))
    return b"".join(parts)


def png_of_stream(stream: bytes, image: Image.Image = PICTURE) -> bytes:
    """RGB, its compressed pixels given."""
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
    return SIGNATURE + body


def stream_of(image: Image.Image = PICTURE) -> bytes:
    row = 3 * image.width
    data = image.tobytes()
    lines = [b"\0" + data[at : at + row] for at in range(0, len(data), row)]
    return zlib.compress(b"".join(lines))


def png16(values: npt.NDArray[np.uint16]) -> bytes:
    """16 bits a channel: [h, w] grey, [h, w, 3] colours or [h, w, 4] with alpha."""
    colour = {1: 0, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return SIGNATURE + body


def tiff16(values: npt.NDArray[np.uint16], order: str) -> bytes:
    """Colours of 16 bits, uncompressed, in byte order "<" or ">"; Pillow cannot write them."""
    height, width, bands = values.shape
    data = values.astype(f"{order}u2").tobytes()
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, bands, 8 + len(data)),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, bands),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    bits = struct.pack(f"{order}{bands}H", *[16] * bands)
    where = 8 + len(data) + len(bits)
    entries = b"".join(_entry(order, *tag) for tag in tags)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return mark + struct.pack(f"{order}I", where) + data + bits + directory


def _entry(order: str, tag: int, kind: int, count: int, value: int) -> bytes:
    short = kind == 3 and count == 1
    packed = struct.pack(
        f"{order}HH" if short else f"{order}I", *((value, 0) if short else (value,))
    )
    return struct.pack(f"{order}HHI", tag, kind, count) + packed


def tiff_of(values: npt.NDArray[Any]) -> bytes:
    return encode(Image.fromarray(values), "TIFF")


def tiff_pages(*pages: Image.Image, reduced: tuple[int, ...] = ()) -> bytes:
    """Those pages are said to be of reduced resolution."""
    from PIL.TiffImagePlugin import AppendingTiffWriter

    buffer = io.BytesIO()
    with AppendingTiffWriter(buffer, True) as writer:
        for index, page in enumerate(pages):
            info = ImageFileDirectory_v2()
            info[254] = int(index in reduced)
            page.save(writer, "TIFF", tiffinfo=info)
            writer.newFrame()
    return buffer.getvalue()


def animation(fmt: str, *frames: Image.Image, **options: Any) -> bytes:
    lossless = {"lossless": True} if fmt == "WEBP" else {}
    return encode(
        frames[0],
        fmt,
        save_all=True,
        append_images=frames[1:],
        duration=100,
        **lossless,
        **options,
    )


def logo(colour: tuple[int, int, int], opaque: int = 255) -> Image.Image:
    """A disc on nothing."""
    image = Image.new("RGBA", (96, 64), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((30, 14, 66, 50), fill=(*colour, opaque))
    return image


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A picture that is to be captioned, with these notes."""

    name: str
    data: bytes
    notes: tuple[str, ...] = ()


BLANK = Image.new("RGB", PICTURE.size, "white")
JPEG = encode(PICTURE, "JPEG", quality=90)
LONG_TEXT = zlib.compress(b"workflow " * 160_000)

ODD = (
    Odd(name="png_ztxt", data=png(chunk(b"zTXt", b"prompt\0\0" + LONG_TEXT))),
    Odd(name="png_itxt", data=png(chunk(b"iTXt", b"workflow\0\1\0\0\0" + LONG_TEXT))),
    Odd(name="png_text", data=png(after=chunk(b"tEXt", b"prompt\0" + b"x" * 1_400_000))),
    Odd(
        name="png_bad_text",
        data=png(chunk(b"tEXt", b"a\0b", WRONG)),
        notes=("checksum_wrong",),
    ),
    Odd(name="png_end", data=png(drop=b"IEND"), notes=("end_missing",)),
    Odd(name="jpeg_end", data=JPEG[:-2], notes=("end_missing",)),
    Odd(
        name="float_tiff",
        data=tiff_of(gradient().astype(np.float32)),
        notes=("range_scaled",),
    ),
    Odd(
        name="png_12_bits",
        data=png16((gradient() * 4095).astype(np.uint16)),
        notes=("range_scaled",),
    ),
    Odd(name="gif_blank", data=animation("GIF", BLANK, PICTURE), notes=("frame_2",)),
    Odd(name="webp_blank", data=animation("WEBP", BLANK, PICTURE), notes=("frame_2",)),
    Odd(name="apng_blank", data=animation("PNG", BLANK, PICTURE), notes=("frame_2",)),
    Odd(name="white_logo", data=encode(logo((255,) * 3), "PNG"), notes=("ground_black",)),
    Odd(
        name="tiff_pages",
        data=tiff_pages(PICTURE.resize((48, 32)), PICTURE),
        notes=("page_2",),
    ),
    Odd(name="avif", data=encode(PICTURE, "AVIF")),
    Odd(name="heic", data=heic(PICTURE)),
    Odd(name="jp2", data=encode(PICTURE, "JPEG2000")),
    Odd(name="j2k", data=encode(PICTURE, "JPEG2000", no_jp2=True)),
)
