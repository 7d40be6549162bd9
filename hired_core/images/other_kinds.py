"""What bytes are that are no image, so that its owner knows what to do about it.

Nothing of what is in them is repeated but an error's name: they may hold what is secret.
"""

from __future__ import annotations

import re
from typing import Final

from hired_core.images.opening import FORMATS, brands

_LOOKED_AT: Final = 4096
_NO_IMAGE: Final = f"not one of {', '.join(FORMATS)}"
_ERROR_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,40})</Code>")
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_HTML: Final = re.compile(rb"<(!doctype html|html|head|body|title|script|meta)[\s>]", re.IGNORECASE)
_SVG: Final = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_VIDEO_BRANDS: Final = {
    *(b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"dash"),
    *(b"qt  ", b"M4V ", b"M4A ", b"3gp4", b"3gp5", b"3gp6", b"3g2a", b"mmp4", b"f4v "),
}
_IMAGES: Final = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_MAGIC: Final = (
    (b"\x1aE\xdf\xa3", "image_is_video", "a Matroska or WebM video"),
    (b"\0\0\x01\xba", "image_is_video", "an MPEG video"),
    (b"FLV\x01", "image_is_video", "a Flash video"),
    (b"%PDF-", "image_is_pdf", "a PDF: render its pages to images"),
    (b"%!PS", "image_is_pdf", "PostScript: render its pages to images"),
    (b"PK\x03\x04", "image_is_archive", "a ZIP archive, or an office document"),
    (b"\x1f\x8b", "image_is_archive", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "image_is_archive", "zstd data"),
    (b"7z\xbc\xaf\x27\x1c", "image_is_archive", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "image_is_archive", "a RAR archive"),
    (b"BZh", "image_is_archive", "bzip2 data"),
    (b"\xfd7zXZ\0", "image_is_archive", "xz data"),
)


def what_else(data: bytes) -> tuple[str, str]:
    """A row error code and its detail for bytes that are none of FORMATS."""
    head = data[:_LOOKED_AT]
    return _by_magic(head) or _by_text(head) or ("image_unidentified", _damaged(head) or _NO_IMAGE)


def _by_magic(head: bytes) -> tuple[str, str] | None:
    for magic, code, detail in _MAGIC:
        if head.startswith(magic):
            return code, detail
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "image_is_video", "an AVI video"
    if brands(head) & _VIDEO_BRANDS or head[4:8] in (b"moov", b"mdat"):
        return "image_is_video", "an MP4 or QuickTime file"
    if head[257:262] == b"ustar":
        return "image_is_archive", "a tar archive"
    return None


def _by_text(head: bytes) -> tuple[str, str] | None:
    text = _plain(head)
    if text.startswith(_LFS):
        return "image_is_lfs_pointer", "a Git LFS pointer: run git lfs pull"
    if text.startswith((b"<", b"<?xml")):
        return _by_markup(text)
    if re.match(rb'[{\[]\s*["{\[\d]', text):
        return "image_is_json", "JSON, perhaps a service's error instead of the image"
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "image_is_text", "plain text, perhaps an error message instead of the image"
    return None


def _by_markup(text: bytes) -> tuple[str, str] | None:
    error = _ERROR_CODE.search(text)
    if error is not None:
        return "image_is_xml", f"an XML error of a storage service: {error[1].decode()}"
    if _HTML.search(text) is not None:
        return "image_is_html", "an HTML page instead of the image: a dead link, a log-in, an error"
    if _SVG.search(text) is not None:
        return "image_is_svg", "an SVG drawing: render it to an image"
    return ("image_is_xml", "an XML document") if text.startswith(b"<?xml") else None


def _plain(head: bytes) -> bytes:
    """As text of one byte a letter where it is ASCII: without byte order mark and leading space."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head[2:].replace(b"\0", b"")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def _damaged(head: bytes) -> str | None:
    for magic, name in _IMAGES.items():
        if head.startswith(magic):
            return f"begins as a {name}, whose header is damaged or of a kind that is not read"
    return None
