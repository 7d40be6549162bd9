"""Every kind of damage is found, named and, on request, mended; the next run does the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.parts.entries import merged_entries, read_entries
from pipeline.parts.merge_journal import MERGING, Merge, MergeJournal
from pipeline.parts.sink import LEDGER_FOLDER, LOCK, METADATA_KEY, Sink
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE, EXIT_FAILED
from pipeline.sources import Shard
from pipeline.verify.check import check
from pipeline.verify.command import main
from pipeline.verify.repeated_ids import find_repeated_ids
from tests.support.one_run import Run

ROWS = [f"{name}#{i}" for name in "ab" for i in range(6)]
BAD = frozenset({"a#1", "b#4"})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A finished run over two shards whose rows share parts."""
    run(tmp_path, "1")
    return tmp_path / "out"


def run(folder: Path, run_id: str) -> None:
    shards = []
    for name in "ab":
        table = pa.table({"image": pa.array([f"{name}{i}".encode() for i in range(6)])})
        pq.write_table(table, folder / name)
        url = str(folder / name)
        shards.append(Shard(url=url, name=name, format="parquet", signature="v1"))
    sink = Sink(url=str(folder / "out"))
    Run(run_id=run_id, shards=shards, bad=BAD).play(sink)
    sink.remove(LOCK)


def part(output: Path, kind: str = "captions") -> Path:
    return sorted((output / kind).glob("part-*.parquet"))[0]


def remove(output: Path) -> None:
    part(output).unlink()


def remove_quarantine(output: Path) -> None:
    part(output, "quarantine").unlink()


def truncate(output: Path) -> None:
    path = part(output)
    path.write_bytes(path.read_bytes()[:-20])


def relabel(output: Path) -> None:
    """A row less than the metadata says."""
    table = pq.read_table(part(output))
    pq.write_table(table.slice(1), part(output))


def double(output: Path) -> None:
    shutil.copy(part(output), output / "captions" / "part-9-copy.parquet")


def double_in_quarantine(output: Path) -> None:
    """Captioned rows are in quarantine as well."""
    captions = pq.read_table(part(output))
    columns = {name: captions[name] for name in ("image_id", "shard", "key")}
    codes = {"error_code": pa.array(["image_corrupt"] * len(captions))}
    table = pa.table(columns | codes).replace_schema_metadata(captions.schema.metadata)
    pq.write_table(table, output / "quarantine" / "part-9-copy.parquet")


def leave_temporary(output: Path) -> None:
    (output / "captions" / ".part-9-x.parquet.ab.tmp").write_bytes(b"half")


def leave_waiting(output: Path) -> None:
    """Rows that no run will give a caption to any more."""
    (output / "waiting").mkdir(exist_ok=True)
    shutil.copy(part(output), output / "waiting")


def lose_ledger(output: Path) -> None:
    shutil.rmtree(output / LEDGER_FOLDER)


def tear_ledger(output: Path) -> None:
    (snapshot,) = (output / LEDGER_FOLDER).glob("*.snapshot.parquet")
    snapshot.write_bytes(snapshot.read_bytes()[:100])


DAMAGES = {
    remove: "missing",
    remove_quarantine: "missing",
    truncate: "unreadable",
    relabel: "mislabelled",
    double: "unknown",
    double_in_quarantine: "unknown",
    leave_temporary: "temporary",
    leave_waiting: "temporary",
    lose_ledger: "ledger",
    tear_ledger: "ledger",
}


def test_a_sound_output_has_no_defects(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert main([str(output)]) == EXIT_DONE
    assert "12 rows in" in capsys.readouterr().out
    assert main([str(output), "--repair"]) == EXIT_DONE
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found_and_mended_and_the_next_run_completes(
    output: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(output)
    found = check(Sink(url=str(output)))
    assert DAMAGES[damage] in {kind for kind, _, _ in found.problems()}
    assert main([str(output)]) == EXIT_FAILED
    assert main([str(output), "--repair"]) == EXIT_DONE
    assert not list(check(Sink(url=str(output))).problems())
    run(tmp_path, "2")
    assert main([str(output)]) == EXIT_DONE
    stored = {
        kind: pq.read_table(sorted((output / kind).glob("*.parquet")))["image_id"].to_pylist()
        for kind in ("captions", "quarantine")
    }
    assert sorted(stored["quarantine"]) == sorted(BAD)
    assert sorted(stored["captions"] + stored["quarantine"]) == ROWS
    check(Sink(url=str(output)))


def test_small_parts_are_merged_where_all_is_well(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows_by_id(output)
    parts = len(list(output.glob("[cq]*/part-*.parquet")))
    assert main([str(output), "--compact", "--rows-per-part", "100"]) == EXIT_DONE
    told = capsys.readouterr().out
    assert f"after compaction: {parts} small parts are 2 now\n" in told
    assert told.endswith("12 rows in 2 parts: all is well\n")
    assert len(list(output.glob("[cq]*/*"))) == 2
    assert rows_by_id(output) == before
    assert main([str(output), "--compact"]) == EXIT_DONE
    assert "after compaction: nothing to do" in capsys.readouterr().out


def rows_by_id(output: Path) -> list[dict[str, object]]:
    tables = [pq.read_table(path) for path in output.glob("[cq]*/part-*.parquet")]
    rows = [row for table in tables for row in table.to_pylist()]
    return sorted(rows, key=lambda row: str(row["image_id"]))


def test_a_damaged_output_is_not_merged(output: Path) -> None:
    names = {path.name for path in output.glob("[cq]*/*")}
    truncate(output)
    assert main([str(output), "--compact"]) == EXIT_FAILED
    assert {path.name for path in output.glob("[cq]*/*")} == names


def test_a_merging_that_was_killed_is_told_and_ended(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is when its parts are written and nothing else is done."""
    sink = Sink(url=str(output))
    paths = sink.parts("captions")
    into = "captions/part-9-0123456789abcdef.parquet"
    journal = MergeJournal(number=1, merges=(Merge(into=into, replaced=tuple(paths)),))
    journal.save(sink)
    journal.mark(sink)
    metadata = sink.metadata(paths[0])
    entries = merged_entries(into, read_entries(sink, paths))
    table = pa.concat_tables([sink.read_part(path).replace_schema_metadata(None) for path in paths])
    sink.write(into, table, metadata | {"shares": [entry.to_json() for entry in entries]})
    assert sink.parts("captions") == [into]
    assert main([str(output)]) == EXIT_FAILED
    assert f"{MERGING} tells of a merging" in capsys.readouterr().out
    assert main([str(output), "--compact"]) == EXIT_DONE
    assert [path.name for path in (output / "captions").iterdir()] == [Path(into).name]


def test_what_repair_took_out_is_kept(output: Path) -> None:
    data = part(output).read_bytes()[:-20]
    name = part(output).name
    truncate(output)
    main([str(output), "--repair"])
    assert (output / "damaged" / f"captions-{name}").read_bytes() == data


def test_parts_of_another_configuration_are_told_and_left(output: Path) -> None:
    path = part(output)
    table = pq.read_table(path)
    metadata = table.schema.metadata
    metadata[METADATA_KEY] = metadata[METADATA_KEY].replace(b"ffffffffffffffff", b"e" * 16)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    found = check(Sink(url=str(output)))
    assert list(found.other_fingerprint) == [f"captions/{path.name}"]
    assert main([str(output), "--repair"]) == EXIT_FAILED
    assert path.exists()


def test_an_output_of_which_nothing_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "nothing")]) == EXIT_BAD_CONFIG
    assert capsys.readouterr().err.startswith("error: output: there are no results at")
    assert main([str(tmp_path), "--storage-options", "{"]) == EXIT_BAD_CONFIG


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_doubles_are_found_in_any_number_of_passes(at_once: int) -> None:
    batches = [[f"a#{i}" for i in range(50)], [f"b#{i}" for i in range(50)], ["a#7", "b#0", "b#0"]]
    assert find_repeated_ids(lambda: batches, 103, at_once) == {"a#7", "b#0"}
    assert find_repeated_ids(lambda: batches[:2], 100, at_once) == set()
    assert find_repeated_ids(list, 0, at_once) == set()
