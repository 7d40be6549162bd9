"""Odd, damaged and false pictures through a whole job: captions, notes, codes and counts agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import pytest

from pipeline.rows.errors import EXIT_DONE
from tests.integration.job import caption
from tests.support.bad_images import encode
from tests.support.odd_pictures import ODD, PICTURE

pytestmark = pytest.mark.usefixtures("cluster")

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
FALSE = {
    "lfs.jpg": (LFS, "image_is_lfs_pointer"),
    "page.png": (b"<!doctype html><title>404</title>", "image_is_html"),
    "error.jpe": (b"<?xml?><Error><Code>NoSuchKey</Code></Error>", "image_is_xml"),
    "film.jfif": (b"\x1aE\xdf\xa3" + bytes(40), "image_is_video"),
    "half.jpg": (encode(PICTURE, "JPEG", quality=90)[:1000], "image_truncated"),
}
SUFFIXES = {"avif": "avif", "heic": "HEIC", "jp2": "jp2", "jpeg_end": "jfif"}
BY_KIND = """
    select regexp_replace(unnest(image_notes), '_\\d+$', ''), count(*)
    from '{}/captions/*.parquet' group by 1
"""


def test_each_ends_where_it_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for odd in ODD:
        suffix = SUFFIXES.get(odd.name, "jpg")  # mostly not what the bytes are
        (tmp_path / "in" / f"{odd.name}.{suffix}").write_bytes(odd.data)
    for name, (data, _) in FALSE.items():
        (tmp_path / "in" / name).write_bytes(data)
    inputs, output = [str(tmp_path / "in")], tmp_path / "out"
    found = caption(inputs, output, "--max-error-rate", "0.5")
    assert found.exit_code == EXIT_DONE
    notes = {row["key"].partition(".")[0]: row["image_notes"] for row in found.captions}
    assert notes == {odd.name: list(odd.notes) for odd in ODD}
    assert {row["key"]: row["error_code"] for row in found.quarantine} == {
        name: code for name, (_, code) in FALSE.items()
    }
    assert found.report["quarantined_by_code"] == dict.fromkeys((c for _, c in FALSE.values()), 1)
    assert found.report["image_notes"] == {
        "end_missing": 2, "checksum_wrong": 1, "range_scaled": 2, "ground_black": 1, "frame": 3,
        "page": 1,
    }  # fmt: skip
    assert "image notes  end_missing 2, checksum_wrong 1" in capsys.readouterr().out
    assert dict(duckdb.sql(BY_KIND.format(output)).fetchall()) == found.report["image_notes"]

    again = caption(inputs, output, "--truncated", "accept", "--retry-quarantined")
    codes = Counter(code for _, code in FALSE.values())
    assert again.report["quarantined_by_code"] == dict(codes - Counter(["image_truncated"]))
    assert len(again.captions) == len(ODD) + 1
    (half,) = [row for row in again.captions if row["key"] == "half.jpg"]
    assert half["image_notes"] == ["truncated"] and half["height"] < PICTURE.height
    assert again.report["image_notes"] == {"truncated": 1}
