"""Named prompts and templates, as they come out of shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources import ReadOptions, Shard, StoredRows, read_shard
from tests.support.source_files import tar_shard

ALT = "Alt: {{ alt }}."


def parquet(path: Path, alts: list[Any], **more: Any) -> Shard:
    pq.write_table(pa.table({"image": pa.array([b"i"] * len(alts)), "alt": alts, **more}), path)
    return Shard(url=str(path), name="s", format="parquet")


def rows(shard: Shard, options: ReadOptions, done: StoredRows | None = None) -> list[Any]:
    tables = list(read_shard(shard, options, done))
    found = [row for table in tables for row in table.to_pylist()]
    return [row for row in found if row["shard_rows"] is None]


def test_a_template_is_filled_from_columns_that_are_not_carried(tmp_path: Path) -> None:
    shard = parquet(tmp_path / "s", ["cat", None, "<s>"])
    first, second, third = rows(shard, ReadOptions(prompt=ALT, control_tokens=("<s>",)))
    assert (first["row_ids"], first["prompts"]) == (["s#0"], ["Alt: cat."])
    assert (first["prompt_names"], first["prompt_failures"]) == (None, None)
    assert (second["error_stage"], second["error_code"]) == ("read", "prompt_invalid")
    assert "prints what is null: alt" in second["error_detail"]
    assert third["prompts"] == ["Alt: < s>."]


def test_one_of_two_prompts_may_fail(tmp_path: Path) -> None:
    options = ReadOptions(prompts=(("a", "What?"), ("b", ALT)), max_prompt_chars=10)
    good, long = rows(parquet(tmp_path / "s", ["cat", "a long one"]), options)
    assert good["row_ids"] == ["s#0#a", "s#0#b"]
    assert (good["prompts"], good["prompt_names"]) == (["What?", "Alt: cat."], ["a", "b"])
    assert long["error_code"] is None and long["prompts"] == ["What?", None]
    assert long["prompt_failures"][0] is None
    assert long["prompt_failures"][1].startswith("prompt_too_long: over 10 characters")


def test_what_is_stored_is_left_out_prompt_by_prompt(tmp_path: Path) -> None:
    options = ReadOptions(prompts=(("a", "What?"), ("b", ALT)))
    shard = parquet(tmp_path / "s", ["cat", None])
    first, second = rows(shard, options, StoredRows(frozenset(["s#0#a", "s#1#a"])))
    assert (first["row_ids"], first["prompt_names"]) == (["s#0#b"], ["b"])
    assert second["row_ids"] == ["s#1#b"]
    assert second["prompt_failures"][0].startswith("prompt_invalid")


def test_a_key_cannot_pass_for_an_id_of_another(tmp_path: Path) -> None:
    shard = parquet(tmp_path / "s", ["x", "y"], id=["k", "k#a"])
    options = ReadOptions(prompts=(("a", "What?"),), id_column="id")
    assert [row["row_ids"] for row in rows(shard, options)] == [["s#k#a"], ["s#k%23a#a"]]


def test_fields_of_a_tar(tmp_path: Path) -> None:
    fields = {"alt": "cat", "meta": {"tags": ["a", "b"]}}
    shard = tar_shard(
        tmp_path / "s",
        [("0.jpg", b"i"), ("0.json", json.dumps(fields).encode()), ("1.jpg", b"i")],
    )
    text = "{{ alt or 'no alt' }}{% for t in meta.tags or [] %} {{ t }}{% endfor %}"
    first, second = rows(shard, ReadOptions(prompt=text))
    assert first["prompts"] == ["cat a b"]
    assert second["error_code"] == "prompt_invalid"


def test_a_template_without_columns_is_one_still(tmp_path: Path) -> None:
    (row,) = rows(parquet(tmp_path / "s", ["x"]), ReadOptions(prompt="{{ 1 + 1 }}{# note #}"))
    assert row["prompts"] == ["2"]


def test_a_broken_shard_has_one_row_for_all_prompts(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"no parquet")
    shard = Shard(url=str(tmp_path / "s"), name="s", format="parquet")
    (row,) = rows(shard, ReadOptions(prompts=(("a", "x"), ("b", "y"))))
    assert (row["row_ids"], row["error_code"]) == (["s#!corrupt"], "shard_corrupt")
