"""Files are there whole or not at all, on full disks too."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline.ledger.lease import Lease
from pipeline.parts.sink import Sink
from pipeline.rows.errors import StorageError
from pipeline.storage.atomic_write import put, remove
from pipeline.storage.retry import Retry

QUICK = Retry(for_sec=60.0, max_wait_sec=0.001)
NOISE = os.urandom(1_000_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_full_disk_is_told_of_in_one_line_and_left_clean(small_disk: Path) -> None:
    sink = Sink(url=str(small_disk))
    small, large = (pa.table({"bytes": [NOISE[:size]]}) for size in (100_000, 600_000))
    sink.write("captions/part-0.parquet", small, {})
    for name in ("part-0.parquet", "part-1.parquet"):
        with pytest.raises(StorageError) as caught:
            sink.write(f"captions/{name}", large, {})
        expected = (
            f"cannot write captions/{name} to {small_disk}: OSError: [Errno 28] No space left"
        )
        assert str(caught.value).startswith(expected)
        assert "\n" not in str(caught.value)
    assert names(small_disk) == ["part-0.parquet"]
    (table,) = sink.read("captions")
    assert table == small.replace_schema_metadata(table.schema.metadata)


def test_an_output_that_is_full_is_found_before_anything_runs(small_disk: Path) -> None:
    (small_disk / "others").write_bytes(NOISE[: 512 * 1024])
    with pytest.raises(StorageError, match="No space left"):
        Lease(store=Sink(url=str(small_disk)), run_id="r", log=sys.stderr).__enter__()
    assert names(small_disk) == ["others"]


def test_a_write_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noted(name: str) -> Any:
        original = getattr(os, name)

        def call(*args: Any) -> Any:
            is_folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{args[0]}")
            calls.append(f"{name} folder" if is_folder else name)
            return original(*args)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    put(fsspec.filesystem("file"), str(tmp_path / "new" / "a"), b"data")
    assert calls == ["fsync", "replace", "fsync folder"]


class Renaming(LocalFileSystem):  # type: ignore[misc]
    """Stands for an SMB or HDFS server, for neither is at hand: local files, a rename that
    replaces nothing, and connections that break in the middle of a write."""

    protocol = "smb"
    cachable = False
    breaks = 0
    stays_broken = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if self.breaks or self.stays_broken:
            self.breaks -= 1
            Path(path).write_bytes(value[: len(value) // 2])
            raise OSError(errno.ENOSPC, "full") if self.stays_broken else ConnectionResetError()
        Path(path).write_bytes(value)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        if os.path.exists(path2):
            raise FileExistsError(path2)
        os.rename(path1, path2)


def test_where_writes_are_not_atomic_a_rename_makes_them_so(tmp_path: Path) -> None:
    fs, path = Renaming(), tmp_path / "captions" / "part-0.parquet"
    put(fs, str(path), b"one", QUICK)
    fs.breaks = 3
    put(fs, str(path), b"two", QUICK)
    assert path.read_bytes() == b"two"
    fs.stays_broken = True
    with pytest.raises(OSError, match="full"):
        put(fs, str(path), b"three", QUICK)
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["part-0.parquet"]


class LostAnswers(LocalFileSystem):  # type: ignore[misc]
    """Deletes, and then breaks the connection."""

    protocol = "lost-answers"

    def rm_file(self, path: str) -> None:
        super().rm_file(path)
        raise ConnectionResetError("no answer")


def test_a_deletion_whose_answer_is_lost_is_done(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    remove(LostAnswers(), str(tmp_path / "a"), QUICK)
    assert names(tmp_path) == []
