"""Parts are there whole or not at all, on disk and on object stores; the folder's rest is safe."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.ledger.clear import clear
from pipeline.ledger.identity import Identity
from pipeline.ledger.lease import Lease, new_run_id
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.snapshots import LedgerLog
from pipeline.parts.sink import KINDS, METADATA_KEY, REPORT, Sink
from pipeline.rows.errors import ConfigError, StorageError

TABLE = pa.table({"image_id": ["a#0", "a#1"], "text": ["x", "y"]})
PART = "captions/part-0.parquet"


@pytest.fixture
def memory() -> Iterator[Sink]:
    filesystem = fsspec.filesystem("memory")
    yield Sink(url="memory://bucket/captions run")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["disk", "disk with odd name", "memory"])
def sink(request: pytest.FixtureRequest, tmp_path: Path, memory: Sink) -> Sink:
    names = {"disk": "out", "disk with odd name": "out [1] part-*?/deep"}
    return memory if request.param == "memory" else Sink(url=str(tmp_path / names[request.param]))


def test_what_is_written_is_read(sink: Sink) -> None:
    sink.write(PART, TABLE, {"run_id": "r", "token_budget": 0.2})
    sink.write("captions/part-1.parquet", TABLE.slice(1), {})
    assert sink.parts("captions") == [PART, "captions/part-1.parquet"]
    first, second = sink.read("captions")
    assert first.to_pylist() == TABLE.to_pylist()
    assert second.to_pylist() == TABLE.to_pylist()[1:]
    assert json.loads(first.schema.metadata[METADATA_KEY]) == {"run_id": "r", "token_budget": 0.2}
    assert [t.column_names for t in sink.read("captions", ["text"])] == [["text"], ["text"]]


def test_nothing_written_is_nothing_to_read(sink: Sink) -> None:
    assert sink.parts("captions") == []
    assert list(sink.read("quarantine")) == []
    assert sink.get_json(REPORT) is None
    assert not sink.exists(PART)
    sink.remove(PART)


def test_a_part_of_the_same_name_is_replaced(sink: Sink) -> None:
    sink.write(PART, TABLE, {})
    sink.write(PART, TABLE.slice(0, 1), {})
    assert [table.num_rows for table in sink.read("captions")] == [1]


def test_the_report_is_json(sink: Sink) -> None:
    sink.put_json(REPORT, {"rows": 3, "usd": None, "name": "é"})
    with fsspec.open(f"{sink.url}/report.json", "rt") as file:
        assert json.load(file) == {"rows": 3, "usd": None, "name": "é"}


def test_a_report_with_a_number_that_json_has_not_is_refused(memory: Sink) -> None:
    with pytest.raises(ValueError, match="JSON"):
        memory.put_json(REPORT, {"rate": float("inf")})


def test_clear_deletes_its_own_files_only(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path))
    for kind in KINDS:
        sink.write(f"{kind}/part-0.parquet", TABLE, {})
    sink.put_json(REPORT, {})
    sink.put_json(f"reports/{new_run_id()}.json", {})
    Identity(fingerprint="f", fields={}, input_root="file/in").save(sink)
    LedgerLog(store=sink, ledger=Ledger(), run_id="r", may_write=lambda: None).snapshot()
    others = ["notes.txt", "captions/mine.parquet", "captions/part-x.csv", "images/part-0.parquet"]
    others += ["reports/mine.json", "_ledger/lock.json"]  # the clearing run's own
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    clear(sink)
    left = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(left) == sorted(others)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_write_that_is_cut_short_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, stop: BaseException
) -> None:
    """What was there stays, what was not there does not appear, and no rest remains."""

    def fails(*_: Any) -> None:
        raise stop

    sink = Sink(url=str(tmp_path / "out"))
    sink.write("captions/part-old.parquet", TABLE, {})
    monkeypatch.setattr(os, call, fails)
    for name in (PART, "captions/part-old.parquet"):
        with pytest.raises((StorageError, KeyboardInterrupt)) as caught:
            sink.write(name, TABLE.slice(1), {})
        assert isinstance(caught.value, StorageError) == isinstance(stop, OSError)
    assert [table.num_rows for table in sink.read("captions")] == [2]
    assert [p.name for p in (tmp_path / "out/captions").iterdir()] == ["part-old.parquet"]


def test_a_write_that_is_killed_leaves_no_visible_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between write and rename, when no handler runs: the rest has a hidden name."""
    sink = Sink(url=str(tmp_path / "out"))
    monkeypatch.setattr(os, "replace", lambda *_: None)
    sink.write(PART, TABLE, {})
    assert sink.parts("captions") == []
    (rest,) = (tmp_path / "out/captions").iterdir()
    assert rest.name.startswith(".")
    assert pq.ParquetDataset(tmp_path / "out/captions").files == []
    assert sink.temporaries() == [f"captions/{rest.name}"]


def test_an_object_store_gets_each_part_in_one_put(
    memory: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[str] = []
    original = MemoryFileSystem.pipe_file

    def counted(self: Any, path: str, value: bytes, **kwargs: Any) -> Any:
        puts.append(path)
        return original(self, path, value, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", counted)
    memory.write(PART, TABLE, {})
    assert [path.removeprefix("/bucket/captions run/") for path in puts] == [PART]


class Remembering(MemoryFileSystem):  # type: ignore[misc]
    """Object-store clients remember listings until told otherwise; so does this."""

    protocol = "remembering"
    store: dict[str, Any] = {}  # noqa: RUF012 - as fsspec declares it
    listings: dict[str, list[str]] = {}  # noqa: RUF012

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        if path not in self.listings:
            self.listings[path] = super().ls(path, detail=detail, **kwargs)
        return self.listings[path]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.listings.clear()


def test_parts_that_other_processes_wrote_are_seen() -> None:
    fsspec.register_implementation("remembering", Remembering, clobber=True)
    sink = Sink(url="remembering://bucket/out")
    sink.write(PART, TABLE, {})
    assert sink.parts("captions") == [PART]
    other = "captions/part-1.parquet"
    (root,) = {path.removesuffix(f"/{PART}") for path in Remembering.store}
    Remembering.store[f"{root}/{other}"] = Remembering.store[f"{root}/{PART}"]
    assert sink.parts("captions") == [PART, other]


def test_a_broken_part_is_a_storage_error(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path))
    sink.write(PART, TABLE, {})
    (tmp_path / PART).write_bytes(b"PAR1 no more")
    for read in (sink.read_part, sink.metadata):
        with pytest.raises(StorageError, match=r"cannot read captions/part-0\.parquet of "):
            read(PART)


def test_a_part_of_another_program_is_told_apart(sink: Sink) -> None:
    buffer = io.BytesIO()
    pq.write_table(TABLE, buffer)
    sink.put(PART, buffer.getvalue())
    with pytest.raises(StorageError, match=r"part-0\.parquet of the output was not written by "):
        sink.metadata(PART)


def test_parts_say_what_they_hold_and_are_listed_by_run(sink: Sink) -> None:
    for run in ("1", "10", "2"):
        sink.write(f"captions/part-{run}-ab.parquet", TABLE, {"run_id": run})
    assert sink.parts("captions", "1") == ["captions/part-1-ab.parquet"]
    assert sink.metadata("captions/part-10-ab.parquet") == {"run_id": "10"}
    assert [len(list(sink.read("captions", run_id=run))) for run in ("2", "3")] == [1, 0]


def test_a_folder_that_cannot_be_made_is_a_storage_error_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write captions/part-0\.parquet to "):
        Sink(url=str(tmp_path / "file")).write(PART, TABLE, {})


def test_an_unknown_protocol_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"^output: .*nosuch://bucket") as caught:
        Sink(url="nosuch://user:secret@bucket/x").parts("captions")
    assert "secret" not in str(caught.value)


def test_an_output_is_tried_before_anything_runs(tmp_path: Path) -> None:
    """By the lock, which is the first thing written."""
    (tmp_path / "file").write_bytes(b"")
    lease = Lease(store=Sink(url=str(tmp_path / "file/out")), run_id="r", log=io.StringIO())
    with pytest.raises(StorageError, match="lock"), lease:
        pytest.fail("held")


@pytest.mark.parametrize("text", ["{", "5", "[1]", "null"])
def test_what_should_be_json_and_is_not_is_a_storage_error(sink: Sink, text: str) -> None:
    sink.put(REPORT, text.encode())
    with pytest.raises(StorageError, match=r"report\.json of the output is no JSON"):
        sink.get_json(REPORT)
