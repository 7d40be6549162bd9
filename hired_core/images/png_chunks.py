"""PNG files without what is no part of the picture.

Metadata may be of any size, packed a thousandfold or damaged; a picture does not depend on it. What
is left in is what pixels, transparency, frames and orientation are made of.
"""

from __future__ import annotations

import zlib
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEAD: Final = 8  # length and name before a chunk's data
_CRC: Final = 4
_PIXELS: Final = (b"IDAT", b"fdAT")
_NEEDED: Final = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
"""Of the ancillary chunks."""

_ORIENTED: Final = {
    b"iTXt": b"XML:com.adobe.xmp\0",
    b"tEXt": b"Raw profile type exif\0",
    b"zTXt": b"Raw profile type exif\0",
}
"""Texts that may hold the orientation, each by its keyword."""
_MOST_ORIENTED_BYTES: Final = 64 * 1024

_CHECKSUM_WRONG: Final = "checksum_wrong"
_END_MISSING: Final = "end_missing"


def without_metadata(data: bytes) -> tuple[bytes, list[str]]:
    """The PNG `data` without the ancillary chunks that no pixel depends on, and notes.

    Nothing is unpacked. A chunk with a wrong checksum is left out if it is ancillary, as browsers
    do; a critical one is left in for the decoder to refuse. Checksums of pixels are not looked at:
    their stream has its own. Where the file is no PNG any more, the rest stays as it is.
    """
    kept, notes, at, start = list[memoryview](), list[str](), len(SIGNATURE), 0
    view, seen = memoryview(data), set[bytes]()
    while at + _HEAD <= len(data):
        name, end = data[at + 4 : at + 8], at + _HEAD + _CRC + int.from_bytes(data[at : at + 4])
        if not name.isalpha():
            break
        whole = end <= len(data)
        wrong = whole and name not in _PIXELS and not _checksum_fits(view[at:end])
        if wrong:
            notes.append(_CHECKSUM_WRONG)
        if _is_ancillary(name) and (wrong or not _is_needed(name, view[at:end], seen)):
            kept.append(view[start:at])
            start = min(end, len(data))
        if name == b"IEND":
            break
        at = end
    else:
        notes.append(_END_MISSING)
    kept.append(view[start:])
    return (data if len(kept) == 1 else b"".join(kept)), list(dict.fromkeys(notes))


def without_stream_checksum(data: bytes) -> bytes | None:
    """The PNG up to its pixels, whose stream lacks its own checksum, its last four bytes.

    None unless the checksum of every chunk of pixels fits: then bytes have changed.
    """
    view, at, first, parts = memoryview(data), len(SIGNATURE), 0, list[memoryview]()
    while at + _HEAD <= len(data):
        end = at + _HEAD + _CRC + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            if end > len(data) or not _checksum_fits(view[at:end]):
                return None
            first = first or at
            parts.append(view[at + _HEAD : end - _CRC])
        at = end
    stream = b"IDAT" + b"".join(parts)[:-_CRC]
    length, checksum = (len(stream) - 4).to_bytes(4), zlib.crc32(stream).to_bytes(4)
    return b"".join([view[:first], length, stream, checksum]) if parts else None


def _is_ancillary(name: bytes) -> bool:
    return bool(name[0] & 0x20)


def _is_needed(name: bytes, chunk: memoryview, seen: set[bytes]) -> bool:
    """Of an ancillary chunk. Of each sort of text that may hold the orientation, one is enough."""
    if name in _NEEDED:
        return True
    keyword = _ORIENTED.get(name)
    if keyword is None or keyword in seen or len(chunk) > _MOST_ORIENTED_BYTES:
        return False
    body = chunk[_HEAD:-_CRC]
    if body[: len(keyword)] != keyword or not _stays_small(name, bytes(body[len(keyword) :])):
        return False
    seen.add(keyword)
    return True


def _stays_small(name: bytes, body: bytes) -> bool:
    """Unpacked no further than to tell."""
    packed = body[1:] if name == b"zTXt" else body[2:].split(b"\0", 2)[-1]
    if name == b"tEXt" or (name == b"iTXt" and body[:1] == b"\0"):
        return True
    try:
        unpacker = zlib.decompressobj()
        unpacker.decompress(packed, _MOST_ORIENTED_BYTES)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


def _checksum_fits(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-_CRC]) == int.from_bytes(chunk[-_CRC:])
