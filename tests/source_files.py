"""Writing small shards, and reading them back as plain rows."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.records import ROW_SCHEMA
from pipeline.sources import ReadOptions, Shard, read_shard

PROMPT = "Describe the image."
CAPTIONING = ReadOptions(prompt=PROMPT)


def read_rows(shard: Shard, options: ReadOptions = CAPTIONING) -> list[dict[str, Any]]:
    """The image rows, after checking what holds for every shard: schema, marker, unique ids."""
    tables = list(read_shard(shard, options))
    assert all(table.schema.equals(ROW_SCHEMA) for table in tables)
    *rows, marker = pa.concat_tables(tables).to_pylist()
    row_ids = [row_id for row in rows for row_id in row["row_ids"]]
    assert {name: value for name, value in marker.items() if value is not None} == {
        "shard": shard.name,
        "shard_rows": len(row_ids),
    }
    assert len(set(row_ids)) == len(row_ids)
    assert len({row["image_id"] for row in rows}) == len(rows)
    for row in rows:
        _check_row(row, shard)
    return rows


def codes(rows: Iterable[dict[str, Any]]) -> dict[str, str | None]:
    """Error code, or None, by `image_id`."""
    return {row["image_id"]: row["error_code"] for row in rows}


def tar_shard(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> Shard:
    """Writes a tar of plain files; returns it as a shard."""
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            add_member(tar, name, data)
    return Shard(url=str(path), name=path.name, format="webdataset")


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _check_row(row: dict[str, Any], shard: Shard) -> None:
    assert row["shard"] == shard.name
    assert row["shard_rows"] is None
    assert len(row["row_ids"]) == len(row["prompts"]) >= 1
    is_error = row["error_code"] is not None
    assert (row["image"] is None) == is_error
    assert row["error_stage"] == ("read" if is_error else None)
    if is_error:
        assert 1 <= len(row["error_detail"]) <= 200
        assert row["error_detail"].isprintable()
