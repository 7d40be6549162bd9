"""An export is killed anywhere and goes on; another one is not mixed in; lost images are told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.export.journal import JOURNAL
from pipeline.job.commands import export
from pipeline.ledger.ledger import Ledger
from pipeline.parts.sink import Sink
from pipeline.sources import Shard, shard_reader
from pipeline.sources.samples import Sample
from pipeline.storage.store import Store
from tests.support.exports import Corpus, captioned, png

FORMS = ("txt", "webdataset", "hf-dataset", "parquet")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return captioned(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def corpus(finished: Corpus, tmp_path: Path) -> Corpus:
    """A copy that a test may spoil; the output's own root is `finished`'."""
    shutil.copytree(finished.root, tmp_path / "in")
    shutil.copytree(finished.output, tmp_path / "out")
    return Corpus(tmp_path / "in", tmp_path / "out")


class Killed(BaseException):
    """As SIGKILL: nothing handles it."""


def taken(corpus: Corpus, into: Path, form: str, *flags: str) -> int:
    copies = ["--side-by-side", "copy"] if form == "txt" else []
    argv = [str(corpus.output), "--to", form, "--into", str(into), "--rows-per-file", "3"]
    return export([*argv, "--input-root", str(corpus.root), *copies, *flags])


def content(folder: Path) -> dict[str, bytes]:
    """Of every file that is visible, by name."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != "export.json"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def kill_after(calls: int, whole: Callable[..., None]) -> Callable[..., None]:
    """`Store.put` that ends the process in the middle of a later call, the file half written."""
    count = 0

    def put(self: Store, name: str, data: bytes) -> None:
        nonlocal count
        count += 1
        if count <= calls:
            whole(self, name, data)
            return
        path = Path(self.url) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / f".{path.name}.ab.tmp").write_bytes(data[:10])
        raise Killed

    return put


@pytest.mark.parametrize("form", FORMS)
def test_a_killed_export_goes_on_and_ends_as_one_that_was_not(
    corpus: Corpus, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert taken(corpus, tmp_path / "whole", form) == 0
    expected = content(tmp_path / "whole")
    put = Store.put
    for calls in (*range(1, 8), 9):
        into = tmp_path / f"killed-{calls}"
        monkeypatch.setattr(Store, "put", kill_after(calls, put))
        with pytest.raises(Killed):
            taken(corpus, into, form)
        seen = {k: v for k, v in content(into).items() if not k.rpartition("/")[2].startswith(".")}
        assert seen.items() <= expected.items()
        monkeypatch.setattr(Store, "put", put)
        assert taken(corpus, into, form) == 0
        assert content(into) == expected


def test_what_is_done_is_neither_read_nor_written_again(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Store.put
    monkeypatch.setattr(Store, "put", kill_after(4, put))
    with pytest.raises(Killed):
        taken(corpus, tmp_path / "tars", "webdataset")
    journal = json.loads((tmp_path / "tars" / JOURNAL).read_text())
    assert (journal["pieces"], journal["items"], journal["complete"]) == (1, 3, False)
    monkeypatch.setattr(Store, "put", put)
    opened: list[str] = []
    samples = shard_reader._samples

    def noted(shard: Shard, *given: Any) -> Generator[Sample, None, None]:
        opened.append(shard.name)
        return samples(shard, *given)

    monkeypatch.setattr(shard_reader, "_samples", noted)
    (corpus.root / "a.parquet").rename(corpus.root / "kept.parquet")
    assert taken(corpus, tmp_path / "tars", "webdataset") == 2  # one image of it is missing still
    (corpus.root / "kept.parquet").rename(corpus.root / "a.parquet")
    opened.clear()
    before = (tmp_path / "tars/captions-00000.tar").stat().st_mtime_ns
    assert taken(corpus, tmp_path / "tars", "webdataset") == 0
    assert opened == ["a.parquet", "b.tar", "photos/"]
    assert (tmp_path / "tars/captions-00000.tar").stat().st_mtime_ns == before


def test_after_success_nothing_is_done(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taken(corpus, tmp_path / "x", "jsonl") == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "x").rglob("*")}
    shutil.rmtree(corpus.root)
    assert taken(corpus, tmp_path / "x", "jsonl") == 0
    assert "nothing to do: 11 captions of 11 images" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "x").rglob("*")} == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--where", "true"], "where was None, now 'true'"),
        (["--rows-per-file", "4"], "rows_per_file was 3, now 4"),
    ],
)
def test_another_export_is_not_mixed_in(
    corpus: Corpus, tmp_path: Path, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert taken(corpus, tmp_path / "x", "jsonl") == 0
    assert taken(corpus, tmp_path / "x", "jsonl", *flags) == 2
    assert told in capsys.readouterr().err


def test_captions_made_anew_are_not_mixed_in(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `--on-changed redo` does: the same ids, other texts."""
    assert taken(corpus, tmp_path / "x", "jsonl") == 0
    sink = Sink(url=str(corpus.output))
    path = sink.parts("captions")[0]
    table, metadata = sink.read_part(path), sink.metadata(path)
    texts = pa.array([f"{text} anew" for text in table["text"].to_pylist()])
    column = table.column_names.index("text")
    sink.write(path, table.set_column(column, "text", texts), metadata)
    assert taken(corpus, tmp_path / "x", "jsonl") == 2
    assert "captions of the output were made anew. Give another" in capsys.readouterr().err
    journal = tmp_path / "x" / JOURNAL
    content = json.loads(journal.read_text())
    del content["settings"]["content_digest"]  # As earlier versions wrote it.
    journal.write_text(json.dumps(content))
    assert taken(corpus, tmp_path / "x", "jsonl") == 0


def complaint(corpus: Corpus, into: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert taken(corpus, into, "hf-dataset") == 2
    return capsys.readouterr().err


def test_input_that_is_gone_is_told(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus.root / "b.tar").unlink()
    told = complaint(corpus, tmp_path / "x", capsys)
    assert "in/b.tar is not where the job read it" in told and "--input-root" in told
    rest = ["--where", "shard <> 'b.tar'"]
    assert taken(corpus, tmp_path / "rest", "hf-dataset", *rest) == 0
    (corpus.root / "photos/d.e.png").unlink()
    assert taken(corpus, tmp_path / "less", "hf-dataset", *rest) == 2
    assert "in/photos is not where the job read it" in capsys.readouterr().err


def test_an_image_that_is_another_now_is_told(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus.root / "photos/d.e.png").write_bytes(png(99))
    told = complaint(corpus, tmp_path / "x", capsys)
    assert "photos/d.e.png: is another than the one that was captioned" in told


def test_a_row_that_is_gone_is_told(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(corpus.root / "a.parquet")
    pq.write_table(table.slice(0, 3), corpus.root / "a.parquet")
    told = complaint(corpus, tmp_path / "x", capsys)
    assert "a.parquet has no a.parquet#3 any more (1 of 4 captioned images are gone)" in told


def test_forms_without_images_need_no_input(finished: Corpus, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(finished.output, output)
    gone = ["--input-root", str(tmp_path / "nowhere")]
    for form in ("txt", "jsonl", "parquet"):
        assert export([str(output), "--to", form, *gone]) == 0
    assert (output / "exports/jsonl/captions-00000.jsonl").is_file()


def test_an_output_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export([str(tmp_path / "none"), "--to", "txt"]) == 2
    assert "there are no results at" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_place_that_cannot_be_is_named_by_its_setting(
    finished: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export([str(finished.output), "--to", "txt", "--into", "no://a/b"]) == 2
    assert capsys.readouterr().err.startswith("error: into: cannot open no://a/b")


@pytest.mark.parametrize("flag", ["--into", "--where", "--input-root"])
def test_what_is_blank_does_not_stand_for_the_default(
    finished: Corpus, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a shell variable is not set."""
    assert export([str(finished.output), "--to", "txt", flag, " "]) == 2
    name = flag[2:].replace("-", "_")
    assert f"{name}: ' ' is out of range; allowed: a " in capsys.readouterr().err
    assert not (finished.output / "exports").exists()


def test_rows_that_are_to_be_taken_out_are_not_exported(
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = Ledger.records

    def with_void(self: Ledger) -> Any:
        for record in records(self):
            yield record.without(share.path for share in record.shares)

    monkeypatch.setattr(Ledger, "records", with_void)
    assert taken(corpus, tmp_path / "x", "jsonl") == 2
    assert "run the job first" in capsys.readouterr().err
