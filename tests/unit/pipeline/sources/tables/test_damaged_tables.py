"""A few hundred damaged tables, as `tests.fuzz.run` makes them by the thousand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.rows.errors import ROW_ERROR_CODES
from pipeline.sources import ReadOptions, Shard, list_input
from pipeline.storage.web.fetch_options import FetchOptions
from tests.fuzz.mutations import mutated
from tests.fuzz.table_containers import KINDS, keys_left, packed_table, write_pictures
from tests.support.source_files import PROMPT, read_rows
from tests.support.table_cases import LOGO, RED

IMAGES = {f"{index:05}": data for index, data in enumerate([RED, LOGO] * 8)}
OPTIONS = ReadOptions(prompt=PROMPT, id_column="id", fetch=FetchOptions(fetch_retries=0))
TRIES = 40


def shard_of(folder: Path, kind: str, data: bytes) -> Shard:
    (folder / f"t.{kind}").write_bytes(data)
    (shard,) = list_input([str(folder / f"t.{kind}")], storage_options={}).shards
    return shard


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_that_is_left_is_found(tmp_path: Path, kind: str) -> None:
    write_pictures(tmp_path, IMAGES)
    whole = packed_table(kind, IMAGES)
    sound = read_rows(shard_of(tmp_path, kind, whole), OPTIONS)
    assert {row["error_code"] for row in sound} == {None}
    assert {row["key"] for row in sound} == keys_left(kind, whole, IMAGES)
    rng = random.Random(kind)
    num_left = 0
    for _ in range(TRIES):
        data = mutated(whole, rng)
        rows = read_rows(shard_of(tmp_path, kind, data), OPTIONS)
        left = keys_left(kind, data, IMAGES)
        assert left <= {row["key"] for row in rows}
        assert {row["error_code"] for row in rows} <= {None, *ROW_ERROR_CODES}
        num_left += len(left)
    # Of what is packed mostly nothing.
    assert num_left > 0 or kind.endswith(".gz"), "the damage must leave something to look for"
