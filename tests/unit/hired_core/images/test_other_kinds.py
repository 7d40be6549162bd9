"""What is no image is called by its name, and nothing of it is repeated."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pytest

from hired_core.images.decode import ImageError, decode_image
from pipeline.rows.errors import ROW_ERROR_CODES


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.jpg"))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.jpg", "x")
    return buffer.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4) + kind + body


SECRET = "X-Amz-Signature=5ec4e7"
S3_ERROR = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    f"<Resource>{SECRET}</Resource></Error>"
)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="4"/></svg>'
KINDS: list[tuple[str, bytes, str, str]] = [
    ("lfs", LFS.encode(), "image_is_lfs_pointer", "run git lfs pull"),
    ("html", b"<!DOCTYPE html>\n<html><title>404</title>", "image_is_html", "HTML"),
    ("html late", b"\n\n <!-- x -->\n<HTML lang='en'>" + b" " * 99, "image_is_html", "HTML"),
    ("html with bom", b"\xef\xbb\xbf<html>", "image_is_html", "HTML"),
    ("html in utf-16", "<html><body>".encode("utf-16"), "image_is_html", "HTML"),
    ("html with svg", b"<html><body><svg></svg>", "image_is_html", "HTML"),
    ("s3", S3_ERROR.encode(), "image_is_xml", "AccessDenied"),
    ("azure", b"\xef\xbb\xbf<?xml?><Error><Code>BlobNotFound</Code>", "image_is_xml", "BlobNot"),
    ("xml", b"<?xml version='1.0'?><rss/>", "image_is_xml", "XML document"),
    ("json", json.dumps({"error": SECRET}).encode(), "image_is_json", "JSON"),
    ("json list", b'[\n {"a": 1}]', "image_is_json", "JSON"),
    ("text", f"Forbidden: {SECRET}\n".encode(), "image_is_text", "plain text"),
    ("svg", SVG.encode(), "image_is_svg", "SVG"),
    ("svg of xml", f"<?xml version='1.0'?>\n<!-- by x -->{SVG}".encode(), "image_is_svg", "SVG"),
    ("pdf", b"%PDF-1.7\n%\xe2\xe3", "image_is_pdf", "PDF"),
    ("mp4", box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"), "image_is_video", "MP4"),
    ("mov", box(b"ftyp", b"qt  \0\0\0\0qt  "), "image_is_video", "QuickTime"),
    ("old mov", box(b"moov", bytes(40)), "image_is_video", "QuickTime"),
    ("webm", b"\x1aE\xdf\xa3\x9fB\x86\x81\x01", "image_is_video", "WebM"),
    ("avi", b"RIFF\0\1\0\0AVI LIST", "image_is_video", "AVI"),
    ("zip", zipped(), "image_is_archive", "ZIP"),
    ("gzip", gzip.compress(b"x"), "image_is_archive", "gzip"),
    ("bzip2", bz2.compress(b"x"), "image_is_archive", "bzip2"),
    ("xz", lzma.compress(b"x"), "image_is_archive", "xz"),
    ("zstd", b"\x28\xb5\x2f\xfd\x04\x00", "image_is_archive", "zstd"),
    ("tar", tar(), "image_is_archive", "tar"),
    ("zeros", bytes(512), "image_unidentified", "not one of JPEG, PNG"),
    ("wav", b"RIFF\0\1\0\0WAVEfmt ", "image_unidentified", "not one of"),
    ("png head", b"\x89PNG\r\n\x1a\n" + bytes(30), "image_unidentified", "begins as a PNG"),
    ("jpeg head", b"\xff\xd8\xff\xe0" + bytes(30), "image_unidentified", "begins as a JPEG"),
]


@pytest.mark.parametrize(
    ("data", "code", "detail"), [k[1:] for k in KINDS], ids=[k[0] for k in KINDS]
)
def test_kinds(data: bytes, code: str, detail: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert (caught.value.code, detail in str(caught.value)) == (code, True), str(caught.value)
    assert code in ROW_ERROR_CODES
    assert "5ec4e7" not in str(caught.value)
