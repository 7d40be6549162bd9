"""Small parts merged, killed at any write or delete: whoever reads sees every row once, or fails
at the mark; whatever goes on from there ends it, and nothing is wrong with the output."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from pipeline.ledger.compaction import compact
from pipeline.ledger.snapshots import LedgerLog, load_ledger
from pipeline.ledger.writer import LedgerWriter, ResumeOptions
from pipeline.parts.merge_journal import MARK, MERGING, MergeJournal
from pipeline.parts.sink import LOCK, Sink
from pipeline.sources import Shard
from pipeline.verify.check import check as problems_of
from pipeline.verify.merge_parts import merge_held
from pipeline.verify.repair import repair
from tests.support.one_run import IDENTITY, Run, hold
from tests.unit.pipeline.ledger.test_copies_killed import shard as letters
from tests.unit.pipeline.ledger.test_writer import (
    URL,
    Story,
    check,
    cut_short,
    every_death,
    ids,
    memory,
    shard,
    stored,
)

__all__ = ["memory"]  # a fixture

ROWS = ids(a=13, b=9)
BAD = frozenset({*(f"a#{i}" for i in range(0, 12, 2)), "a#3", "b#0", "b#2", "b#3"})
MOST = 6


@dataclass(frozen=True)
class Compaction:
    """A run that finds nothing to open, and merges."""

    shards: Sequence[Shard]
    run_id: str = "1"

    def play(self, sink: Sink) -> None:
        ledger_writer = LedgerWriter(sink, hold(sink, self.run_id), IDENTITY)
        assert ledger_writer.begin(self.shards, ResumeOptions()) == []
        ledger_writer.finish()
        ledger_writer.compact(MOST)
        ledger_writer.close()


def small_parts(folder: Path) -> Story:
    """Of one row or two; of two shards, two runs and two versions."""
    shards, sink = [shard(folder, "a", 13), shard(folder, "b", 9)], Sink(url=URL)
    Run(run_id="0", shards=shards[:1], bad=BAD, rows_per_part=1).play(sink)
    _age(sink, sink.parts("captions")[:3])
    run = Run(run_id="00", shards=shards, bad=BAD, rows_per_part=2)
    run.play(sink)
    return Story(run=run, rows=ROWS, bad=BAD)


def _age(sink: Sink, paths: list[str]) -> None:
    """As versions wrote them that knew no notes."""
    for path in paths:
        old = sink.read_part(path).drop_columns(["image_notes"])
        sink.write(path, old, sink.metadata(path))


def test_killed_at_any_moment_every_row_is_seen_once(tmp_path: Path, memory: Any) -> None:
    story = small_parts(tmp_path)
    before = len(stored("captions") | stored("quarantine"))
    for number, _ in enumerate(every_death(memory, Compaction(story.run.shards))):
        look(story)
        if number % 3:
            continue  # The others take as long as all that is to be told.
        Compaction(story.run.shards, "2").play(Sink(url=URL))
        look(story)
        check(story)
        assert list(problems_of(Sink(url=URL)).problems()) == []
        assert len(stored("captions") | stored("quarantine")) < before
        assert not marks()


@dataclass(frozen=True)
class ByHand:
    """`hired verify --compact`, of an output that a killed run has left unfinished."""

    def play(self, sink: Sink) -> None:
        ledger = load_ledger(sink)
        assert ledger is not None
        log = LedgerLog(store=sink, ledger=ledger, run_id="1", may_write=lambda: None)
        assert merge_held(sink, log, MOST).before > 4


def test_killed_by_hand_between_two_runs(tmp_path: Path, memory: Any) -> None:
    """Of two shards one is complete; merged parts hold rows of both."""
    shards, rows = [shard(tmp_path, "a", 13), shard(tmp_path, "b", 3)], ids(a=13, b=3)
    bad = BAD.intersection(rows)
    run = Run(run_id="0", shards=shards, bad=bad, rows_per_part=1)
    cut_short(Sink(url=URL), run, 30)
    ledger = load_ledger(Sink(url=URL))
    assert ledger is not None and [r.complete for r in ledger.records()] == [False, True]
    before = set(rows_of(Sink(url=URL), listed(Sink(url=URL))))
    assert 8 < len(before) < len(rows)
    for number, _ in enumerate(every_death(memory, ByHand())):
        sink = Sink(url=URL)
        assert rows_of(sink, listed(sink)) == Counter(before)
        if number % 2 == 0:
            replace(run, run_id="2").play(sink)
            check(Story(run=run, rows=rows, bad=bad))
            assert not marks()


def test_killed_and_repaired(tmp_path: Path, memory: Any) -> None:
    story, sink = small_parts(tmp_path), Sink(url=URL)
    for number, _ in enumerate(every_death(memory, Compaction(story.run.shards))):
        if number % 12 == 7 and any((found := problems_of(sink)).problems()):
            sink.remove(LOCK)
            repair(sink, found, "3", io.StringIO())
            look(story)
            assert list(problems_of(sink).problems()) == []
            assert not marks()


def look(story: Story) -> None:
    """As those who list parts do, those who ask the ledger, and those who take every file."""
    sink, wanted = Sink(url=URL), Counter(story.rows)
    assert rows_of(sink, listed(sink)) == wanted
    ledger = load_ledger(sink)
    assert ledger is not None
    named = {(s.path, r.ledger_id, s.ids.rows) for r in ledger.records() for s in r.shares}
    assert rows_of(sink, sorted({path for path, _, _ in named})) == wanted
    assert sum(rows for _, _, rows in named) == len(story.rows)
    for kind in ("captions", "quarantine"):
        if f"{kind}/{MARK}" not in marks():
            mine = {row for row in story.rows if (row in story.bad) == (kind == "quarantine")}
            assert rows_of(sink, sink.part_files(kind)) == Counter(mine)


def listed(sink: Sink) -> list[str]:
    return [path for kind in ("captions", "quarantine") for path in sink.parts(kind)]


def rows_of(sink: Sink, paths: list[str]) -> Counter[str]:
    return Counter(i for p in paths for i in sink.read_part(p)["image_id"].to_pylist())


def marks() -> set[str]:
    found = fsspec.filesystem("memory").store
    return {path.removeprefix("/out/") for path in found if path.endswith(MARK)}


def test_other_programs_stop_at_the_mark(memory: Any) -> None:
    memory.pipe_file(f"/out/captions/{MARK}", b"")
    journal = MergeJournal().following()
    assert journal.merges == () and journal.number == 1
    with pytest.raises(Exception, match="Parquet"):
        pq.read_table(memory.open(f"/out/captions/{MARK}"))


def test_columns_rows_and_what_runs_took_stay(tmp_path: Path, memory: Any) -> None:
    story, sink = small_parts(tmp_path), Sink(url=URL)
    before = {kind: contents(kind) for kind in ("captions", "quarantine", "stats")}
    schemas = {str(t.schema.remove_metadata()) for t in stored("captions").values()}
    Compaction(story.run.shards).play(sink)
    assert {kind: contents(kind) for kind in before} == before
    assert {str(t.schema.remove_metadata()) for t in stored("captions").values()} == schemas
    assert len(schemas) == 2
    assert all(table.num_rows <= MOST for table in stored("captions").values())
    assert len(stored("captions")) <= 4 and len(stored("quarantine")) <= 4
    names = set(stored("captions"))
    Compaction(story.run.shards, "2").play(sink)
    assert set(stored("captions")) == names, "merged once"


def contents(kind: str) -> Counter[str]:
    return Counter(str(row) for table in stored(kind).values() for row in table.to_pylist())


def test_fewer_than_eight_small_parts_are_left_for_later(tmp_path: Path, memory: Any) -> None:
    shards = [shard(tmp_path, "a", 3), shard(tmp_path, "b", 3)]
    Run(run_id="0", shards=shards, rows_per_part=1).play(Sink(url=URL))
    names = set(stored("captions"))
    assert 1 < len(names) < 8
    Compaction(shards).play(Sink(url=URL))
    assert set(stored("captions")) == names
    assert f"/out/{MERGING}" not in memory.store


def test_a_part_that_is_not_as_the_ledger_has_it_is_left_alone(tmp_path: Path) -> None:
    story, sink = small_parts(tmp_path), Sink(url=URL)
    odd = sink.parts("captions")[4]
    metadata = sink.metadata(odd)
    metadata["shares"][0]["digest"] += 1
    sink.write(odd, sink.read_part(odd), metadata)
    Compaction(story.run.shards).play(sink)
    assert odd in sink.parts("captions")
    assert len(sink.parts("captions")) < 8


def test_rows_about_to_be_taken_out_are_not_merged(tmp_path: Path) -> None:
    small_parts(tmp_path)
    sink = Sink(url=URL)
    log = LedgerLog(store=sink, ledger=load_ledger(sink), run_id="1", may_write=lambda: None)
    record = log.ledger.get("a")
    assert record is not None
    void = sorted(share.path for share in record.shares if not share.in_quarantine)[:2]
    log.put(record.without(void))
    log.snapshot()
    compact(sink, log, rows_per_part=MOST)
    assert set(void) <= set(sink.parts("captions"))
    assert len(sink.parts("captions")) < 8


def test_copies_of_duplicates_stay_with_their_caption(tmp_path: Path, memory: Any) -> None:
    shards = [letters(tmp_path, "a", "ABACAD"), letters(tmp_path, "b", "CABDBEFG")]
    Run(run_id="0", shards=shards, rows_per_part=1, copies=True).play(Sink(url=URL))
    before = contents("captions")
    for number, _ in enumerate(every_death(memory, Compaction(shards))):
        if number % 5:
            continue
        Compaction(shards, "2").play(Sink(url=URL))
        assert contents("captions") == before
        assert len(stored("captions")) < 10
