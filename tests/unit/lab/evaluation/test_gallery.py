"""The demo's comparison: captions beside what is true of the shipped samples."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lab.demo import SAMPLES as FOLDER
from lab.evaluation.gallery import compare, load_samples, overall_f1
from lab.evaluation.scoring.captions import items_named
from pipeline.parts.sink import Sink
from pipeline.rows.row import to_table
from pipeline.rows.schemas import CAPTIONS_SCHEMA

SAMPLES = load_samples(FOLDER)


def store(folder: Path, texts: dict[str, str]) -> Sink:
    sink = Sink(url=str(folder))
    rows = [
        {"image_id": i, "text": t, "visual_tokens_kept": 144, "visual_tokens_dense": 720}
        for i, t in texts.items()
    ]
    sink.write("captions/part-0.parquet", to_table(rows, CAPTIONS_SCHEMA), {})
    return sink


def test_samples_are_of_both_kinds_and_the_broken_ones_are_left_out() -> None:
    names = [image_id.partition("#")[0] for image_id in SAMPLES]
    assert len(SAMPLES) == 64
    assert {name.partition("/")[0] for name in names} == {"parquet", "webdataset"}
    table = pq.read_table(FOLDER / "parquet/samples-01.parquet")
    known = sum(truth is not None for truth in table["truth"].to_pylist())
    assert names.count("parquet/samples-01.parquet") == known < table.num_rows


def test_samples_are_images_with_content() -> None:
    for sample in SAMPLES.values():
        assert sample.image[:2] in (b"\xff\xd8", b"\x89P", b"RI")
        assert sample.items
        assert items_named(sample.caption) == sample.items


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_a_true_caption_is_all_right_and_a_wrong_one_all_missed(tmp_path: Path, kind: str) -> None:
    image_id = next(i for i in SAMPLES if i.startswith(kind))
    shown = len(SAMPLES[image_id].items)
    (right,) = compare(store(tmp_path / "a", {image_id: SAMPLES[image_id].caption}), SAMPLES)
    assert right.counts == (shown, shown, shown)
    assert right.tokens == "144 of 720"
    (wrong,) = compare(store(tmp_path / "b", {image_id: "nothing here"}), SAMPLES)
    assert wrong.counts == (0, 0, shown)


def test_images_of_no_known_content_are_skipped_and_the_rest_sorted(tmp_path: Path) -> None:
    first, second = sorted(SAMPLES)[:2]
    compared = compare(store(tmp_path, {second: "b", "x#0": "c", first: "a"}), SAMPLES)
    assert [item.image_id for item in compared] == [first, second]


def test_the_score_of_all_counts_items_not_images(tmp_path: Path) -> None:
    """Micro-averaged: all right on one image, all missed on the other."""
    one, other = sorted(SAMPLES)[:2]
    texts = {one: SAMPLES[one].caption, other: "nothing"}
    hits, missed = len(SAMPLES[one].items), len(SAMPLES[other].items)
    compared = compare(store(tmp_path, texts), SAMPLES)
    assert overall_f1(compared) == pytest.approx(2 * hits / (2 * hits + missed))
