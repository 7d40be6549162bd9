"""Rows whose image was met before are neither decoded nor asked; what they ask anew, is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.copies.registry import Registry
from pipeline.rows.row import is_active, is_copy, to_table
from pipeline.rows.schemas import PARTITIONED_SCHEMA, ROW_SCHEMA
from pipeline.settings.config import InputConfig
from pipeline.stages import GuardedStage, PartitionStage
from pipeline.stages.generate import _per_question
from tests.support.bad_images import encode, picture
from tests.unit.pipeline.stages.test_partition import CONTEXT, SPEC

PICTURES = [sample.image for sample in load_samples(SAMPLES).values()]
LIMITS = InputConfig(input=["a"])
_Row = dict[str, Any]


def row(image_id: str, image: bytes | None, *prompts: str | None) -> _Row:
    several = len(prompts) > 1
    ids = [f"{image_id}#q{i}" for i in range(len(prompts))] if several else [image_id]
    return {"image_id": image_id, "image": image, "row_ids": ids, "prompts": list(prompts) or ["p"]}


def run(rows: list[_Row], registry: Registry, *, likeness: bool = False) -> list[_Row]:
    cutting = (SPEC.geometry, LIMITS.decode_limits, LIMITS.cut_options)
    stage = GuardedStage(PartitionStage, CONTEXT, *cutting, registry, likeness)
    table = stage(to_table(rows, ROW_SCHEMA))
    assert table.schema.equals(PARTITIONED_SCHEMA)
    found: list[_Row] = table.to_pylist()
    return found


def questions(rows: list[_Row]) -> dict[str, bool]:
    """Whether each question, as the generate stage takes it, is asked."""
    full = [dict.fromkeys(("stats", "error_code", "shard_rows")) | row for row in rows]
    return {q["image_id"]: is_active(q) for row in full for q in _per_question(row)}


def squeezed(data: bytes) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return encode(image.resize((image.width // 2, image.height // 2)), "PNG")


def test_the_second_of_the_same_bytes_is_not_decoded() -> None:
    registry, data = Registry(), encode(picture(), "PNG")
    rows = [row("a", data), row("b", data), row("c", PICTURES[0])]
    first, second, other = run(rows, registry)
    assert is_active(first) and is_active(other)
    assert is_copy(second) and second["partitions"] is second["width"] is None
    assert second["sha256"] == first["sha256"] != other["sha256"]
    (again, once_more) = run([row("b", data), row("a", data)], registry)
    assert is_copy(again) and not is_copy(once_more)


def test_what_is_asked_anew_is_asked() -> None:
    registry, data = Registry(), PICTURES[0]
    rows = [row("a", data, "How?"), row("b", data, "Why?", "How?"), row("c", data, "How?", "Why?")]
    found = run(rows, registry)
    assert questions(found) == {
        "a": True,
        "b#q0": True,
        "b#q1": False,
        "c#q0": False,
        "c#q1": False,
    }
    assert [each["partitions"] is not None for each in found] == [True, True, False]


@pytest.mark.parametrize("prompt", [None, " "])
def test_blank_prompts_are_nobodys_first(prompt: str | None) -> None:
    found = run(
        [row("a", PICTURES[0], prompt, "p"), row("b", PICTURES[0], prompt, "p")], Registry()
    )
    # They fail by themselves, in the generate stage.
    assert questions(found) == {"a#q0": True, "a#q1": True, "b#q0": True, "b#q1": False}


def test_copies_of_what_does_not_decode_wait_for_its_end() -> None:
    registry = Registry()
    bad, copy = run([row("a", b"broken"), row("b", b"broken")], registry)
    assert bad["error_code"] == "image_is_text" and bad["sha256"] == copy["sha256"]
    assert copy["error_code"] is None and is_copy(copy)


def test_failed_rows_and_markers_claim_nothing() -> None:
    registry = Registry()
    failed = row("a", PICTURES[0]) | {"error_code": "row_kills_process"}
    lost = row("b", None) | {"error_code": "image_missing"}
    first, *_ = run([failed, lost, {"shard": "s", "shard_rows": 2}], registry)
    assert len(registry) == 0
    assert first["sha256"] is not None  # By which rows find it that were told to wait for it.


def test_what_looks_alike_is_decoded_and_not_asked() -> None:
    registry = Registry(near=6)
    rows = [row("a", PICTURES[0]), row("b", squeezed(PICTURES[0])), row("c", PICTURES[1])]
    first, near, other = run(rows, registry, likeness=True)
    assert is_active(first) and is_active(other) and is_copy(near)
    assert near["partitions"] is None and near["phash"] is not None
    assert near["width"] == first["width"] // 2
    (number,) = near["firsts"]
    found = registry.resolve([number])[number]
    assert (found.image_id, found.width) == ("a", near["width"])


def test_flat_pictures_are_no_copies_of_each_other() -> None:
    red, blue = (encode(Image.new("RGB", (60, 60), name), "PNG") for name in ("red", "blue"))
    found = run([row("a", red), row("b", blue), row("c", red)], Registry(near=6), likeness=True)
    assert list(map(is_copy, found)) == [False, False, True]


def test_without_a_registry_nobody_is_a_copy() -> None:
    stage = PartitionStage(CONTEXT, SPEC.geometry, LIMITS.decode_limits)
    table = stage(to_table([row("a", PICTURES[0]), row("b", PICTURES[0])], ROW_SCHEMA))
    assert [each["firsts"] for each in table.to_pylist()] == [None, None]
