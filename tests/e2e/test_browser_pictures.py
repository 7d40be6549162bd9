"""Damaged pictures, as a browser shows them: what it shows in full is captioned."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hired_core.images.decode import ImageError, decode_image
from tests.support.bad_images import encode
from tests.support.chromium import Browser, chromium, find_chromium
from tests.support.odd_pictures import (
    LONG_TEXT,
    PICTURE,
    ROTATED,
    WRONG,
    chunk,
    png,
    png_of_stream,
    stream_of,
)

PALETTE = PICTURE.quantize(8)
CLEAR: dict[str, Any] = {"image": PALETTE, "transparency": PALETTE.getpixel((0, 0))}
STREAM, GIF, PNG = stream_of(), encode(PICTURE, "GIF"), encode(PICTURE, "PNG")
PROGRESSIVE = encode(PICTURE, "JPEG", quality=95, progressive=True, subsampling=0)
FULL = {
    "sound": PNG,
    "long text": png(chunk(b"zTXt", b"x\0\0" + LONG_TEXT)),
    "long profile": png(chunk(b"iCCP", b"x\0\0" + LONG_TEXT)),
    "text, wrong checksum": png(chunk(b"tEXt", b"a\0b", WRONG)),
    "short gamma": png(chunk(b"gAMA", bytes(2))),
    "transparency, wrong checksum": png(spoil=b"tRNS", **CLEAR),
    "orientation, wrong checksum": png(chunk(b"eXIf", ROTATED, WRONG)),
    "pixels, wrong checksum": png(spoil=b"IDAT"),
    "stream without its checksum": png_of_stream(STREAM[:-4]),
    "stream with a wrong checksum": png_of_stream(STREAM[:-4] + b"abcd"),
    "no end": png(drop=b"IEND"),
    "JPEG in passes without its end": PROGRESSIVE[:-2],
    "GIF without its end": GIF[:-2],
}
"""Shown in full by Chromium 156, and so to be captioned."""
NOT_AT_ALL = {
    "header, wrong checksum": png(spoil=b"IHDR"),
    "palette, wrong checksum": png(spoil=b"PLTE", image=PALETTE),
}
IN_PART = {
    "half a PNG": PNG[: len(PNG) // 2],
    "half a GIF": GIF[: len(GIF) // 2],
    "half a BMP": encode(PICTURE, "BMP")[:9000],
    "half a JPEG": PROGRESSIVE[: len(PROGRESSIVE) // 2],
}
_DRAW = """(async data => {
    const image = new Image();
    image.src = 'data:application/octet-stream;base64,' + data;
    try { await image.decode() } catch { if (!image.naturalWidth) return null }
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.height, canvas.width, btoa(String.fromCharCode(...pixels))];
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium")
    with chromium(path, tmp_path_factory.mktemp("chromium") / "profile") as found:
        yield found


def shown(browser: Browser, data: bytes) -> npt.NDArray[np.uint8] | None:
    """RGBA."""
    found = browser.value(f"{_DRAW}({json.dumps(base64.b64encode(data).decode())})")
    if found is None:
        return None
    height, width, pixels = found
    return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)


def is_whole(pixels: npt.NDArray[np.uint8] | None) -> bool:
    """JPEGs and palettes give colours that differ a little."""
    return (
        pixels is not None
        and pixels.shape[:2] == (PICTURE.height, PICTURE.width)
        and np.abs(pixels[..., :3].astype(int) - np.asarray(PICTURE)).max() < 60
    )


def test_what_a_browser_shows_in_full_is_captioned(browser: Browser) -> None:
    assert {name: is_whole(shown(browser, data)) for name, data in FULL.items()} == {
        name: True for name in FULL
    }
    for name, data in FULL.items():
        pixels = np.asarray(decode_image(data)).astype(int)
        assert np.abs(pixels - np.asarray(PICTURE)).max() < 60, name


def test_what_it_shows_in_part_or_not_at_all_is_not(browser: Browser) -> None:
    assert [name for name, data in IN_PART.items() if is_whole(shown(browser, data))] == []
    assert [name for name, data in NOT_AT_ALL.items() if shown(browser, data) is not None] == []
    for data in (*IN_PART.values(), *NOT_AT_ALL.values()):
        with pytest.raises(ImageError):
            decode_image(data)
