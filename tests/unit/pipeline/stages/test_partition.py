"""Bytes in, uint8 partitions out; a bad image costs its own row alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.accounting.cost import Prices
from pipeline.rows.row import to_table
from pipeline.rows.schemas import PARTITIONED_SCHEMA, ROW_SCHEMA
from pipeline.settings.config import InputConfig
from pipeline.stages import PartitionStage
from pipeline.stages.context import StageContext
from tests.support.bad_images import CASES, encode, picture
from tests.support.models import load_spec
from tests.support.odd_pictures import ODD, PICTURE, animation

CONTEXT = StageContext(run_id="r", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0))
SPEC = load_spec("embedded")
SIDE = SPEC.partition_size
CUT_HERE = {"image_missing", "image_too_many_bytes"}  # found when reading, not when decoding


def image_row(image_id: str, image: bytes) -> dict[str, Any]:
    return {"image_id": image_id, "image": image, "row_ids": [image_id], "prompts": ["p"]}


def run(rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    config = InputConfig(input=["a"], **options)
    stage = PartitionStage(CONTEXT, SPEC.geometry, config.decode_limits, config.cut_options)
    table = stage(to_table(rows, ROW_SCHEMA))
    assert table.schema.equals(PARTITIONED_SCHEMA)
    found: list[dict[str, Any]] = table.to_pylist()
    assert [row["image_id"] for row in found] == [row.get("image_id") for row in rows]
    return found


def test_an_image_is_cut_into_its_partitions() -> None:
    whole = picture(size=(2 * SIDE, SIDE))  # one row of two sub-images
    data = encode(whole, "PNG")
    (row,) = run([image_row("a", data)])
    assert (row["width"], row["height"], row["num_partitions"]) == (2 * SIDE, SIDE, 3)
    assert row["sha256"] == hashlib.sha256(data).hexdigest()
    pixels = np.frombuffer(row["partitions"], np.uint8).reshape(3, 3, SIDE, SIDE)
    # Of the canvas' own size: sub-images are the pixels themselves.
    expected = np.asarray(whole).transpose(2, 0, 1)
    assert (pixels[1] == expected[:, :, :SIDE]).all()
    assert (pixels[2] == expected[:, :, SIDE:]).all()
    assert row["error_code"] is None


@pytest.mark.parametrize("options", [{"resize": "fast"}, {"reduced_decode": True}])
def test_ways_of_cutting_differ_in_pixels_alone(options: dict[str, Any]) -> None:
    image = Image.effect_noise((448, 896), 50).convert("RGB")
    (exact,), (other,) = (
        run([image_row("a", encode(image, "JPEG"))], **chosen) for chosen in ({}, options)
    )
    pixels, others = (np.frombuffer(r.pop("partitions"), np.uint8) for r in (exact, other))
    assert 0 < np.abs(pixels.astype(int) - others).mean() < 20
    exact.pop("stats"), other.pop("stats")
    assert exact == other
    assert (exact["width"], exact["height"]) == (448, 896)


def test_every_bad_image_fails_alone_under_its_code() -> None:
    cases = [case for case in CASES if case.expected not in CUT_HERE and case.data]
    good = encode(picture(), "PNG")
    rows = []
    for case in cases:
        rows += [image_row("good", good), image_row(case.name, case.data)]
    found = run(rows, max_pixels=100_000_000)
    assert {row["error_code"] for row in found[::2]} == {None}
    assert len({row["partitions"] for row in found[::2]}) == 1
    ends = {row["image_id"]: row["error_code"] or "ok" for row in found[1::2]}
    assert ends == {case.name: case.expected for case in cases}
    assert len(set(ends.values())) > 4
    for row in found:
        assert (row["error_code"] is None) == (row["partitions"] is not None)
        assert row["error_stage"] == ("partition" if row["error_code"] else None)


def test_notes_are_of_their_row_and_counted_by_kind() -> None:
    blank = Image.new("RGB", PICTURE.size)
    third = animation("WEBP", blank, blank.point(lambda _: 90), PICTURE)
    rows = [image_row(odd.name, odd.data) for odd in ODD]
    rows += [image_row("third", third), image_row("bad", b"no image")]
    found = run(rows)
    notes = {row["image_id"]: row["image_notes"] for row in found}
    assert notes == {odd.name: list(odd.notes) for odd in ODD} | {"third": ["frame_3"], "bad": None}
    (record,) = [json.loads(text) for row in found for text in row["stats"] or []]
    times = Counter(note.rstrip("_0123456789") for odd in ODD for note in odd.notes)
    assert json.loads(record["image_notes"]) == times + Counter(["frame"])
    assert times["frame"] == 3


@pytest.mark.parametrize("resize", ["exact", "fast"])
def test_truncated_images_are_refused_or_captioned_from_what_is_there(resize: str) -> None:
    data = encode(picture(size=(480, 320)), "PNG")
    rows = [image_row("a", data[: len(data) // 2])]
    (refused,), (taken,) = (run(rows, resize=resize, truncated=t) for t in ("refuse", "accept"))
    assert refused["error_code"] == "image_truncated"
    assert (taken["error_code"], taken["image_notes"]) == (None, ["truncated"])
    assert taken["width"] == 480 and 0 < taken["height"] < 320


def test_the_pixel_limit_is_the_configured_one() -> None:
    data = encode(picture(size=(48, 32)), "PNG")
    assert run([image_row("a", data)], max_pixels=48 * 32)[0]["error_code"] is None
    (row,) = run([image_row("a", data)], max_pixels=48 * 32 - 1)
    assert row["error_code"] == "image_too_many_pixels"


def test_an_image_that_no_grid_keeps_fails() -> None:
    (row,) = run([image_row("a", encode(Image.new("RGB", (2000, 1)), "PNG"))])
    assert row["error_code"] == "image_too_elongated"


def test_markers_and_failed_rows_pass_untouched() -> None:
    failed = image_row("b", b"") | {
        "image": None,
        "error_stage": "read",
        "error_code": "key_unsafe",
        "error_detail": "..",
        "stats": ["{}"],
    }
    marker = {"shard": "s", "shard_rows": 2}
    rows = [image_row("a", encode(picture(), "PNG")), failed, marker]
    found = run(rows)
    kept = [name for name in PARTITIONED_SCHEMA.names if name in ROW_SCHEMA.names]
    for before, after in zip([failed, marker], found[1:], strict=True):
        assert {n: after[n] for n in kept} == {n: before.get(n) for n in kept}
        assert after["partitions"] is after["sha256"] is None


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_is_recorded_once(count: int) -> None:
    rows = [image_row(str(i), b"no image") for i in range(count)]
    found = run(rows)
    records = [json.loads(text) for row in found for text in row["stats"] or []]
    assert len(records) == min(1, count)
    assert all(r["num_images"] == r["errors"] == count for r in records)
    assert all(row["stats"] is None for row in found[1:])


def test_an_empty_table_has_the_schema() -> None:
    assert run([]) == []
