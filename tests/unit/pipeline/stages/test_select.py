"""Kept visual tokens: as many as the budget says, whatever else is in the batch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from hired_core.images.source import content_seed
from hired_core.vlm.vision_half import VisionHalf
from pipeline.accounting.cost import Prices
from pipeline.rows.row import to_table
from pipeline.rows.schemas import PARTITIONED_SCHEMA, ROW_SCHEMA, SELECTED_SCHEMA
from pipeline.settings.config import (
    InputConfig,
    JobConfig,
    OutputConfig,
    RunConfig,
)
from pipeline.stages import PartitionStage, SelectStage
from pipeline.stages.context import StageContext
from tests.support.bad_images import encode, picture
from tests.support.models import load_spec
from tests.support.resolved import resolved
from tests.support.settings import reduction

CONTEXT = StageContext(run_id="r", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0), threads=1)
SPEC = load_spec("embedded")
BASE = JobConfig(
    input=InputConfig(input=["a"]), output=OutputConfig(output="o"), run=RunConfig(progress=False)
)
SIDE = SPEC.partition_size
# (width, height), and how many of the 12 x 12 patches of each partition the embedded model sees.
# The first two fill their canvas; of the last's, 24 rows in two sub-images, int(225 * 12 / 144)
# show it, and the others, above and below, are padding.
SIZES = {"square": (2 * SIDE, 2 * SIDE), "wide": (2 * SIDE, SIDE), "narrow": (144, 225)}
DENSE = {"square": 5 * 144, "wide": 3 * 144, "narrow": 144 + 18 * 12}
EXACT = ("hired", "uniform", "stride", "random")


def select_stage(**selection: Any) -> SelectStage:
    chosen = reduction(**selection)
    return SelectStage(CONTEXT, resolved(dataclasses.replace(BASE, reduction=chosen)))


@cache
def hired() -> SelectStage:
    return select_stage(budget=0.2)


@cache
def partitioned(*names: str) -> pa.Table:
    rows = [
        {"image_id": f"{i}", "image": image(name), "row_ids": [f"{i}"], "prompts": ["p"]}
        for i, name in enumerate(names)
    ]
    stage = PartitionStage(CONTEXT, SPEC.geometry, BASE.input.decode_limits)
    return without_stats(stage(to_table(rows, ROW_SCHEMA)))


def without_stats(table: pa.Table) -> pa.Table:
    rows = [row | {"stats": None} for row in table.to_pylist()]
    return to_table(rows, table.schema)


def image(name: str) -> bytes:
    return encode(picture(size=SIZES[name]), "PNG")


def run(stage: SelectStage, table: pa.Table) -> list[dict[str, Any]]:
    found = stage(table)
    assert found.schema.equals(SELECTED_SCHEMA)
    rows: list[dict[str, Any]] = found.to_pylist()
    assert [r["image_id"] for r in rows] == table["image_id"].to_pylist()
    return rows


def features(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(row["features"], np.float32).reshape(-1, SPEC.vision_width)


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize(
    ("budget", "square", "wide"),
    # Of 720: the wide image has but 432 tokens.
    [
        *((0.05, 36, 36), (0.1, 72, 72), (0.2, 144, 144)),
        *((0.4, 288, 288), (0.8, 576, 432), (77, 77, 77)),
    ],
)
def test_as_many_tokens_as_the_budget_says(
    method: str, budget: float, square: int, wide: int
) -> None:
    rows = run(select_stage(method=method, budget=budget), partitioned("square", "wide"))
    for row, name, expected in zip(rows, ("square", "wide"), (square, wide), strict=True):
        assert row["visual_tokens_kept"] == expected
        assert row["visual_tokens_dense"] == DENSE[name]
        assert len(row["partition_budgets"]) == row["num_partitions"]
        assert sum(row["partition_budgets"]) == expected
        order = np.frombuffer(row["place"], np.int32)
        assert order.shape == (expected,)
        assert (np.diff(order) > 0).all()
        assert features(row).shape == (expected, SPEC.vision_width)


def test_dense_keeps_everything_that_is_no_padding() -> None:
    rows = run(select_stage(method="dense"), partitioned("square", "wide", "narrow"))
    for row, expected in zip(rows, DENSE.values(), strict=True):
        assert row["visual_tokens_kept"] == row["visual_tokens_dense"] == expected


def test_the_published_code_keeps_no_more_than_its_budget() -> None:
    (row,) = run(select_stage(method="hired-upstream", budget=0.4), partitioned("square"))
    assert 0 < row["visual_tokens_kept"] <= 288


def test_a_budget_of_the_image_is_a_share_of_its_own_grid() -> None:
    stage = select_stage(budget=0.25, budget_basis="image")
    rows = run(stage, partitioned("square", "wide"))
    assert [row["visual_tokens_kept"] for row in rows] == [180, 108]


def test_kept_tokens_are_among_the_dense_ones_at_their_places() -> None:
    (dense,) = run(select_stage(method="dense"), partitioned("narrow"))
    (kept,) = run(hired(), partitioned("narrow"))
    places = {int(place): i for i, place in enumerate(np.frombuffer(dense["place"], np.int32))}
    chosen = [places[int(place)] for place in np.frombuffer(kept["place"], np.int32)]
    np.testing.assert_allclose(features(kept), features(dense)[chosen], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["hired", "random"])
def test_a_row_does_not_depend_on_its_batch(method: str) -> None:
    stage = select_stage(method=method, budget=0.2)
    together = run(stage, partitioned("square", "narrow", "wide"))
    for name, row in zip(("square", "narrow", "wide"), together, strict=True):
        (alone,) = run(stage, partitioned(name))
        assert alone["place"] == row["place"]
        assert alone["partition_budgets"] == row["partition_budgets"]
        np.testing.assert_allclose(features(alone), features(row), rtol=1e-4, atol=1e-4)


def test_random_tokens_differ_from_image_to_image_and_repeat() -> None:
    table = partitioned("square")
    other = to_table([table.to_pylist()[0] | {"sha256": "ab" * 32}], PARTITIONED_SCHEMA)
    stage = select_stage(method="random", budget=0.2)
    first, again, different = (run(stage, t)[0]["place"] for t in (table, table, other))
    assert first == again != different


class Counted:
    """Stands before an encoder and counts the images it is given."""

    def __init__(self, encoder: VisionHalf) -> None:
        self.encoder = encoder
        self.calls: list[int] = []

    def __call__(self, partitions: Sequence[Any], *rest: Any) -> Any:
        self.calls.append(len(partitions))
        return self.encoder(partitions, *rest)


def test_the_same_image_is_encoded_once_in_a_batch() -> None:
    stage = select_stage(budget=0.2)
    counted = Counted(stage._vision)
    stage._vision = counted  # type: ignore[assignment]
    rows = run(stage, partitioned("wide", "narrow", "wide", "wide"))
    assert counted.calls == [2]
    assert rows[0]["features"] == rows[2]["features"] == rows[3]["features"]
    assert rows[0]["features"] != rows[1]["features"]


class Faulty:
    """An encoder that cannot do with images of so many partitions, wherever they are."""

    def __init__(self, encoder: VisionHalf, num_partitions: int, error: Exception) -> None:
        self.encoder = encoder
        self.num_partitions = num_partitions
        self.error = error

    def __call__(self, partitions: Sequence[Any], *rest: Any) -> Any:
        if any(len(pixels) == self.num_partitions for pixels in partitions):
            raise self.error
        return self.encoder(partitions, *rest)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out\nof memory"), ValueError("no"), IndexError("out of range")]
)
def test_an_image_that_fails_costs_its_rows_alone(error: Exception) -> None:
    table = partitioned("wide", "square", "narrow", "square")
    good = run(hired(), table)
    stage = select_stage(budget=0.2)
    stage._vision = Faulty(stage._vision, 5, error)  # type: ignore[assignment]
    found = run(stage, table)
    bad = (None, "encoding_failed")
    assert [row["error_code"] for row in found] == [bad[i] for i in (0, 1, 0, 1)]
    assert found[1]["error_detail"] == f"{type(error).__name__}: {' '.join(str(error).split())}"
    assert found[1]["error_stage"] == "select"
    assert [row["place"] for row in found] == [good[0]["place"], None, good[2]["place"], None]
    (record,) = [json.loads(text) for text in found[0]["stats"]]
    assert (record["num_images"], record["errors"]) == (4, 2)
    assert record["visual_tokens_kept"] == sum(good[i]["visual_tokens_kept"] for i in (0, 2))


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError("the device is lost"), AssertionError("a bug")]
)
def test_an_error_that_is_no_images_fault_stops_the_job(error: Exception) -> None:
    stage = select_stage(budget=0.2)
    stage._vision = Faulty(stage._vision, 5, error)  # type: ignore[assignment]
    with pytest.raises(type(error), match=str(error)):
        stage(partitioned("square", "wide"))


def test_markers_and_failed_rows_pass_untouched_and_cost_nothing() -> None:
    failed = {
        "image_id": "f",
        "error_stage": "partition",
        "error_code": "image_corrupt",
        "error_detail": "x",
        "row_ids": ["f"],
        "prompts": ["p"],
    }
    marker = {"shard": "s", "shard_rows": 2, "stats": ["{}"]}
    good = partitioned("wide").to_pylist()
    found = run(hired(), to_table([failed, *good, marker], PARTITIONED_SCHEMA))
    shared = [n for n in SELECTED_SCHEMA.names if n in PARTITIONED_SCHEMA.names and n != "stats"]
    for before, after in zip((failed, marker), (found[0], found[2]), strict=True):
        assert {n: after[n] for n in shared} == {n: before.get(n) for n in shared}
        assert after["features"] is after["visual_tokens_kept"] is None
    assert found[2]["stats"] == ["{}"]
    assert found[1]["visual_tokens_kept"] == 144
    (record,) = [json.loads(text) for text in found[0]["stats"]]
    assert (record["num_images"], record["errors"]) == (1, 0)
    assert (record["visual_tokens_dense"], record["visual_tokens_kept"]) == (432, 144)
    assert found[1]["stats"] is None


@pytest.mark.parametrize("rows", [[], [{"shard": "s", "shard_rows": 0}]])
def test_a_batch_without_images_is_no_work(rows: list[dict[str, Any]]) -> None:
    assert len(run(hired(), to_table(rows, PARTITIONED_SCHEMA))) == len(rows)


def test_content_seeds_are_int64_of_the_digest() -> None:
    assert content_seed("00" * 7 + "05" + "ff" * 24) == 5
    assert content_seed("ff" * 32) == -1
