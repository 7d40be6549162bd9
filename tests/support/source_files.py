"""Writing small shards, and reading them back as plain rows."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.rows.schemas import ROW_SCHEMA
from pipeline.sources import ReadOptions, Shard, read_shard

PROMPT = "Describe the image."
CAPTIONING = ReadOptions(prompt=PROMPT)


def read_rows(shard: Shard, options: ReadOptions = CAPTIONING) -> list[dict[str, Any]]:
    """The image rows, after checking what holds for every shard: schema, marker, unique ids."""
    tables = list(read_shard(shard, options))
    assert all(table.schema.equals(ROW_SCHEMA) for table in tables)
    *rows, marker = pa.concat_tables(tables).to_pylist()
    row_ids = [row_id for row in rows for row_id in row["row_ids"]]
    assert marker == marker_of(shard, row_ids)
    assert len(set(row_ids)) == len(row_ids)
    assert len({row["image_id"] for row in rows}) == len(rows)
    for row in rows:
        _check_row(row, shard)
    return rows


def marker_of(shard: Shard, row_ids: Sequence[str], **more: int) -> dict[str, Any]:
    """The row that ends a shard of which `row_ids` were handed on."""
    nothing_skipped = {"skipped_rows": 0, "skipped_digest": 0, "doubled_rows": 0}
    counts = {"shard_rows": len(row_ids), "shard_digest": digest(row_ids)}
    names = {"shard": shard.name, "ledger_id": shard.ledger_id}
    return dict.fromkeys(ROW_SCHEMA.names) | names | counts | nothing_skipped | more


def digest(ids: Iterable[str]) -> int:
    """The sum of the ids' hashes, in plain Python and as a signed 64-bit number."""
    hashes = (hashlib.blake2b(i.encode("utf-8", "surrogatepass"), digest_size=8) for i in ids)
    total = sum(int.from_bytes(each.digest(), "little", signed=True) for each in hashes)
    return int.from_bytes((total % 2**64).to_bytes(8, "little"), "little", signed=True)


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
    assert (row["shard"], row["ledger_id"]) == (shard.name, shard.ledger_id)
    assert row["shard_rows"] is None
    assert len(row["row_ids"]) == len(row["prompts"]) >= 1
    is_error = row["error_code"] is not None
    assert (row["image"] is None) == is_error
    assert row["error_stage"] == ("read" if is_error else None)
    if is_error:
        assert 1 <= len(row["error_detail"]) <= 200
        assert row["error_detail"].isprintable()
