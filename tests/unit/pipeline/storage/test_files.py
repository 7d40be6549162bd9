"""Storage failures are `StorageError`, never bad data, and tell no secrets."""

from __future__ import annotations

import dataclasses
import io
import random
import traceback
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractBufferedFile

from pipeline.rows.errors import InputError, StorageError
from pipeline.sources import Shard, list_input, read_shard, redact_url
from pipeline.storage.files import (
    StorageFile,
    open_input,
    open_path,
    storage_errors,
    url_parts,
)
from pipeline.storage.retry import Retry
from tests.support.source_files import CAPTIONING, codes, read_rows, tar_shard

SECRET = "hunter2"
TABLE = pa.table({"image": [bytes([i]) * 50_000 for i in range(40)]})


class FlakyFile(io.BytesIO):
    """Fails for good once half of it has been read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._bytes_left = len(data) // 2

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise PermissionError(
                f"denied while reading https://u:{SECRET}@host/x?X-Signature={SECRET}"
            )
        return data


class FlakyFileSystem(fsspec.AbstractFileSystem):
    """Local files that fail in the middle."""

    protocol = "flaky"

    def _open(self, path: str, *args: Any, **kwargs: Any) -> FlakyFile:
        return FlakyFile(Path(path).read_bytes())


fsspec.register_implementation("flaky", FlakyFileSystem)


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("s3://bucket/a/b.tar", "s3://bucket/a/b.tar"),
        (f"sftp://me:{SECRET}@host:22/a@b.tar", "sftp://host:22/a@b.tar"),
        (f"https://host/a.tar?X-Amz-Signature={SECRET}", "https://host/a.tar?..."),
        (f"https://me:{SECRET}@host?token={SECRET}/@x", "https://host?..."),
        ("/data/what?.tar", "/data/what?.tar"),
    ],
)
def test_redact_url(url: str, redacted: str) -> None:
    assert redact_url(url) == redacted


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("/data/a.tar", ("file", "", "data", "a.tar")),
        ("s3://bucket/a/", ("s3", "bucket", "a")),
        ("s3://", ("s3",)),
        ("/", ("file",)),
        ("https://u:p@host/a.tar?sig=1/2", ("https", "host", "a.tar")),
        ("s3://bucket/what?.tar", ("s3", "bucket", "what?.tar")),
    ],
)
def test_url_parts(url: str, parts: tuple[str, ...]) -> None:
    assert url_parts(url) == parts


def test_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot open .*gone\.tar: FileNotFoundError"):
        open_input(str(tmp_path / "gone.tar"), {})


@pytest.mark.parametrize("name", ["gone.tar", "gone.parquet", "gone.arrow"])
def test_a_shard_that_is_gone_is_a_row_but_its_folder_stops_the_job(
    tmp_path: Path, name: str
) -> None:
    formats = {"tar": "webdataset", "parquet": "parquet", "arrow": "arrow"}
    fmt: Any = formats[name.rpartition(".")[2]]
    rows = read_rows(Shard(url=str(tmp_path / name), name=name, format=fmt))
    assert codes(rows) == {f"{name}#!gone": "file_not_found"}
    with pytest.raises(StorageError, match="gone"):
        list(read_shard(Shard(url=str(tmp_path / "x" / name), name=name, format=fmt), CAPTIONING))


@pytest.mark.parametrize("url", ["nowhere://host/a.tar", "s3://a/b.tar::s3://c/d"])
def test_unusable_protocol_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError):
        list_input([url], storage_options={})


def test_no_secret_in_the_message() -> None:
    with pytest.raises(StorageError) as caught, storage_errors("read", f"ftp://u:{SECRET}@h/a"):
        raise PermissionError(f"no (GET https://u:{SECRET}@h/a?sig={SECRET})\nat all")
    assert SECRET not in str(caught.value)
    assert "PermissionError: no (GET https://h/a?...) at all" in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told


def test_a_cause_without_secrets_is_kept() -> None:
    with pytest.raises(StorageError) as caught, storage_errors("read", "ftp://h/a"):
        raise PermissionError("no")
    assert isinstance(caught.value.__cause__, PermissionError)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_failing_tar_read_is_no_bad_row(tmp_path: Path, mode: str) -> None:
    noise = random.Random(0).randbytes(50_000)
    check_read_fails(tar_shard(tmp_path / "a.tar", [(f"{i}.jpg", noise) for i in range(40)], mode))


def test_failing_parquet_read_is_no_bad_row(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=8, compression="none")
    check_read_fails(
        Shard(url=str(tmp_path / "a.parquet"), name="a.parquet", format="parquet"),
    )


def test_failing_arrow_read_is_no_bad_row(tmp_path: Path) -> None:
    with pa.ipc.new_stream(tmp_path / "a.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=4)
    check_read_fails(Shard(url=str(tmp_path / "a.arrow"), name="a.arrow", format="arrow"))


def check_read_fails(shard: Shard) -> None:
    flaky = dataclasses.replace(shard, url=f"flaky://{shard.url}")
    tables = read_shard(flaky, dataclasses.replace(CAPTIONING, batch_rows=4))
    assert next(tables)["error_code"].to_pylist() == [None] * 4
    with pytest.raises(StorageError, match=f"cannot read {flaky.url}: PermissionError") as caught:
        list(tables)
    assert SECRET not in str(caught.value)


class BrokenConnections(fsspec.AbstractFileSystem):
    """One file whose connections break after `lifetime` bytes; a broken one gives garbage.

    Attributes:
        versions: content and ETag of the file, by how often it was opened; the last one stays.
    """

    protocol = "broken-connections"
    cachable = False
    lifetime = 70_000

    def __init__(self, *versions: tuple[bytes, str]) -> None:
        super().__init__()
        self.versions = list(versions)
        self.opened = 0

    def _open(self, path: str, *args: Any, **kwargs: Any) -> AbstractBufferedFile:
        data, etag = self.versions[min(self.opened, len(self.versions) - 1)]
        self.opened += 1
        return _Connection(self, path, data, etag)


class _Connection(AbstractBufferedFile):  # type: ignore[misc]
    def __init__(self, fs: BrokenConnections, path: str, data: bytes, etag: str) -> None:
        details = {"name": path, "size": len(data), "ETag": etag, "type": "file"}
        self._details = details
        super().__init__(fs, path, block_size=16_384, size=len(data))
        self._data, self._bytes_left, self._is_broken = data, fs.lifetime, False

    def _fetch_range(self, start: int, end: int) -> bytes:
        self._bytes_left -= end - start
        if self._is_broken:
            return bytes(end - start)
        if self._bytes_left < 0:
            self._is_broken = True
            raise ConnectionResetError("reset by peer")
        return self._data[start:end]


NOISE = random.Random(1).randbytes(400_000)
QUICK = Retry(for_sec=60.0, max_wait_sec=0.001)


@pytest.mark.parametrize("buffered", [False, True])
def test_a_read_that_breaks_goes_on_where_it_broke(buffered: bool) -> None:
    fs = BrokenConnections((NOISE, "1"))
    raw = open_path(fs, "a", "broken-connections://a", QUICK)
    rng = random.Random(2)
    with io.BufferedReader(raw) if buffered else raw as file:
        file.seek(1_000)
        pieces = list(iter(lambda: file.read(rng.randrange(1, 20_000)), b""))
        assert b"".join(pieces) == NOISE[1_000:]
        assert file.tell() == len(NOISE)
        assert file.seek(-10, io.SEEK_END) == len(NOISE) - 10
        assert file.read() == NOISE[-10:]
    assert fs.opened > 5


def test_a_file_that_changed_meanwhile_is_not_pieced_together() -> None:
    fs = BrokenConnections((NOISE, "1"), (NOISE[::-1], "2"))
    with open_path(fs, "a", "broken-connections://a", QUICK) as file:
        with pytest.raises(StorageError, match="broken-connections://a changed while it was read"):
            for _ in range(100):
                file.read(10_000)
        assert 0 < file.tell() <= BrokenConnections.lifetime


def test_an_answer_cut_short_is_no_end_of_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(self: Any, start: int, end: int) -> bytes:
        return bytes(self._data[start : min(end, 50_000)])

    monkeypatch.setattr(_Connection, "_fetch_range", short)
    fs = BrokenConnections((NOISE, "1"))
    once = Retry(for_sec=0.0)
    with (
        open_path(fs, "a", "broken-connections://a", once) as file,
        pytest.raises(StorageError, match=r"EOFError: \d+ of 20000 bytes came from byte 40000 on"),
    ):
        for _ in range(20):
            file.read(20_000)


class Streaming(io.BytesIO):
    """Cannot seek, as a web server without ranges; breaks at 1000 bytes the first time."""

    breaks = True

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise ValueError("cannot seek")

    def read(self, size: int | None = -1, /) -> bytes:
        if Streaming.breaks and self.tell() >= 1_000:
            Streaming.breaks = False
            raise ConnectionResetError("reset by peer")
        return super().read(size)


def test_a_stream_is_read_up_to_where_it_broke() -> None:
    with StorageFile(lambda: Streaming(NOISE), "http://host/a", QUICK) as file:
        assert not file.seekable()
        assert b"".join(iter(lambda: file.read(300), b"")) == NOISE
    assert not Streaming.breaks
