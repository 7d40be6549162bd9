"""Images met before get the caption of the first: in other shards, and on other nights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.rows.errors import EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import Result, answer, caption
from tests.integration.test_resume import kill_after_parts

PICTURES = [sample.image for sample in load_samples(SAMPLES).values()]
NEAR = ("--near-duplicates", "4", "--rows-per-part", "4", "--max-error-rate", "0.2")
pytestmark = pytest.mark.usefixtures("cluster")


def write(path: Path, pictures: list[bytes], **columns: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": pa.array(pictures, pa.binary())} | columns)
    pq.write_table(table, path, row_group_size=4)


def squeezed(data: bytes) -> bytes:
    """The picture at three quarters of its size, as a poor JPEG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def check(result: Result, groups: list[set[str]]) -> None:
    """Each group of rows has one text, made for one of them."""
    assert result.exit_code == EXIT_DONE
    rows = {row["image_id"]: row for row in result.captions}
    assert len(rows) == len(result.captions) == sum(map(len, groups))
    for group in groups:
        firsts = {i for i in group if rows[i]["duplicate_of"] is None}
        assert len(firsts) == 1
        assert {rows[i]["duplicate_of"] for i in group - firsts} <= firsts
        assert len({rows[i]["text"] for i in group}) == 1
        (first,) = (rows[i] for i in firsts)
        for row in (rows[i] for i in group - firsts):
            near = row["sha256"] != first["sha256"]
            bits = (row["phash"] ^ first["phash"]) & (2**64 - 1)
            assert row["duplicate_distance"] == (bits.bit_count() if near else None)
            size = (row["width"], row["height"])
            assert (size != (first["width"], first["height"])) == near


def test_copies_across_shards_and_nights_with_a_kill_between(tmp_path: Path) -> None:
    first, second = PICTURES[:8], PICTURES[8:14]
    write(tmp_path / "in" / "a.parquet", [*first, *first[:4]])
    write(tmp_path / "in" / "b.parquet", [b"broken", *map(squeezed, first), b"broken"])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    kill_after_parts(tmp_path / "in", output, 1, *NEAR)
    resumed = caption(source, output, *NEAR)
    groups = [{f"a.parquet#{i}", f"b.parquet#{i + 1}"} for i in range(8)]
    groups = [g | ({f"a.parquet#{i + 8}"} if i < 4 else set()) for i, g in enumerate(groups)]
    check(resumed, groups)
    assert {row["error_code"] for row in resumed.quarantine} == {"image_is_text"}
    assert 0 < resumed.report["duplicates"]["copied"] <= 12
    write(tmp_path / "in" / "c.parquet", [*second, first[0], squeezed(first[1]), second[0]])
    night = caption(source, output, *NEAR)
    for index, row in ((0, 6), (1, 7)):
        groups[index].add(f"c.parquet#{row}")
    groups += [{f"c.parquet#{i}"} | ({"c.parquet#8"} if i == 0 else set()) for i in range(6)]
    check(night, groups)
    assert night.report["images"] == 6  # The others were met before.
    assert night.report["duplicates"] | {"copied": 3, "near": 1} == night.report["duplicates"]
    assert night.report["duplicates"]["saved_device_sec_estimated"] > 0
    assert not list((output / "waiting").iterdir())
    assert verify([str(output)]) == EXIT_DONE


def test_an_image_is_asked_what_it_was_not_asked_before(tmp_path: Path) -> None:
    """The texts are those of a job that asks each."""
    asked = [["What is it?", "How many?"], ["How many?"], ["How many?", "What is it?", "Why?"]]
    write(tmp_path / "a.parquet", [PICTURES[0], PICTURES[0], PICTURES[0]], question=asked)
    write(tmp_path / "b.parquet", [PICTURES[1], PICTURES[0]], question=[["Why?"], ["Why?"]])
    source = [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]
    plain = answer(source, tmp_path / "plain")
    copied = answer(source, tmp_path / "copied", "--duplicates", "copy")
    assert copied.texts() == plain.texts()
    assert plain.report["duplicates"] is None
    assert {row["duplicate_of"] for row in plain.captions} == {None}
    assert copied.report["duplicates"]["copied"] == 4
    rows = [row for row in copied.captions if row["duplicate_of"] is None]
    found = sorted((row["prompt"], row["sha256"] == rows[0]["sha256"]) for row in rows)
    assert len({(row["prompt"], row["sha256"]) for row in rows}) == len(rows) == 4, found
