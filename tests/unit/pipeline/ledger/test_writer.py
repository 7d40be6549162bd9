"""A run killed at any write or delete, and run again: every row is there exactly once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ledger.ledger import Ledger
from pipeline.ledger.snapshots import load_ledger
from pipeline.ledger.work import Assignment
from pipeline.ledger.writer import LedgerWriter, ResumeOptions
from pipeline.parts.sink import Sink
from pipeline.rows.errors import BusyError, ReconcileError
from pipeline.rows.row import to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA
from pipeline.sources import ReadOptions, Shard, list_input
from tests.support.one_run import IDENTITY, Run, hold, writer
from tests.support.source_files import digest

URL = "memory://out"
ASKING = ReadOptions(prompt_column="q", batch_rows=2)


class Killed(BaseException):
    """As by SIGKILL: from here on nothing of the run reaches the storage."""


@dataclass
class Life:
    """How many writes and deletes a run may do."""

    left: int
    spent: int = 0

    def spend(self) -> None:
        if self.spent >= self.left:
            raise Killed
        self.spent += 1


@dataclass(frozen=True, kw_only=True)
class Mortal(Sink):
    life: Life

    def put(self, name: str, data: bytes) -> None:
        self.life.spend()
        super().put(name, data)

    def remove(self, name: str) -> None:
        self.life.spend()
        super().remove(name)


@dataclass(frozen=True, kw_only=True)
class Story:
    """What happened `before`, the `run` that is killed, and what must be there at the end.

    Attributes:
        bad: the rows that must end in quarantine.
        anew: shards whose rows the run was told to do again.
    """

    run: Run
    rows: Sequence[str]
    before: Callable[[Sink], object] = lambda sink: None
    bad: frozenset[str] = frozenset()
    anew: frozenset[str] = frozenset()


def shard(folder: Path, name: str, rows: int, version: str = "v1") -> Shard:
    images = [f"{version} {name}{i}".encode() if i != 3 else b"" for i in range(rows)]
    questions = [["x?", "y?"][: 1 + i % 2] for i in range(rows)]
    table = pa.table({"image": pa.array(images, type=pa.binary()), "q": questions})
    pq.write_table(table, folder / name)
    return Shard(url=str(folder / name), name=name, format="parquet", signature=version)


def ids(**rows: int) -> list[str]:
    return [f"{name}#{i}" for name, count in rows.items() for i in range(count)]


EMPTY_IMAGES = frozenset({"a#3", "b#3"})


def fresh(folder: Path) -> Story:
    shards = [shard(folder, name, rows) for name, rows in (("a", 6), ("b", 4), ("c", 0))]
    bad = frozenset({"a#0", "b#1"})
    return Story(
        run=Run(run_id="1", shards=shards, bad=bad), rows=ids(a=6, b=4), bad=bad | EMPTY_IMAGES
    )


def grown(folder: Path) -> Story:
    shards = [shard(folder, name, 3) for name in "abc"]
    return Story(
        before=Run(run_id="0", shards=shards[:2]).play,
        run=Run(run_id="1", shards=shards),
        rows=ids(a=3, b=3, c=3),
    )


def retried(folder: Path) -> Story:
    """Of five bad rows two are still bad: one cannot be read, one fails again."""
    shards = [shard(folder, "a", 5), shard(folder, "b", 3)]
    bad = frozenset({"a#0", "a#1", "b#0", "b#1"})
    again = frozenset({"b#1"})
    return Story(
        before=Run(run_id="0", shards=shards, bad=bad).play,
        run=Run(run_id="1", shards=shards, bad=again, resume=ResumeOptions(retry_quarantined=True)),
        rows=ids(a=5, b=3),
        bad=again | {"a#3"},
    )


def redone(folder: Path) -> Story:
    """One shard has changed, and has a row less; its rows share parts with the other's."""
    before = [shard(folder, "a", 3), shard(folder, "b", 3)]
    Run(run_id="0", shards=before, bad=frozenset({"a#0", "b#0"})).play(Sink(url=URL))
    after = [before[0], shard(folder, "b", 2, version="v2")]
    return Story(
        run=Run(run_id="1", shards=after, resume=ResumeOptions(on_changed="redo")),
        rows=ids(a=3, b=2),
        bad=frozenset({"a#0"}),
        anew=frozenset({"b"}),
    )


def redone_unfinished(folder: Path) -> Story:
    """The first run was killed before the shard changed: its parts are known to no record."""
    before = [shard(folder, "a", 3), shard(folder, "b", 3)]
    cut_short(Sink(url=URL), Run(run_id="0", shards=before, bad=frozenset({"b#0"})), 6)
    assert texts().keys() & {"a#0", "b#1"} == {"a#0", "b#1"}
    after = [before[0], shard(folder, "b", 2, version="v2")]
    return Story(
        run=Run(run_id="1", shards=after, resume=ResumeOptions(on_changed="redo")),
        rows=ids(a=3, b=2),
        anew=frozenset({"b"}),
    )


def overwritten(folder: Path) -> Story:
    shards = [shard(folder, "a", 3), shard(folder, "b", 3)]
    return Story(
        before=Run(run_id="0", shards=shards, bad=frozenset({"a#0"})).play,
        run=Run(run_id="1", shards=shards[1:], resume=ResumeOptions(overwrite=True)),
        rows=ids(b=3),
        anew=frozenset({"b"}),
    )


def limited(folder: Path) -> Story:
    shards = [shard(folder, "a", 3), shard(folder, "b", 6)]
    return Story(
        before=Run(run_id="0", shards=[shards[0], replace(shards[1], max_rows=2)]).play,
        run=Run(run_id="1", shards=[shards[0], replace(shards[1], max_rows=5)]),
        rows=ids(a=3, b=5),
        bad=frozenset({"b#3"}),
    )


def questioned(folder: Path) -> Story:
    """Some images have two questions, one of which is left to ask."""
    shards = [shard(folder, "a", 3), shard(folder, "b", 4)]
    bad = frozenset({"b#1#q0"})
    rows = [
        f"{name}#{i}#q{q}" for name, n in (("a", 3), ("b", 4)) for i in range(n) for q in (0, 1)
    ]
    rows = [row for row in rows if not (row.endswith("q1") and int(row.split("#")[1]) % 2 == 0)]
    return Story(
        before=Run(run_id="0", shards=shards, options=ASKING, bad=bad | {"a#1#q1"}).play,
        run=Run(
            run_id="1",
            shards=shards,
            options=ASKING,
            bad=bad,
            resume=ResumeOptions(retry_quarantined=True),
            rows_per_part=3,
        ),
        rows=rows,
        bad=bad | {"b#3#q0", "b#3#q1"},
    )


def images(folder: Path) -> Story:
    """Loose images in two buckets, to which some have come; one of the first is done again."""

    def listed() -> tuple[Shard, ...]:
        return list_input([str(folder)], storage_options={}, buckets={"./": 2}).shards

    for i in range(5):
        (folder / f"{i}.jpg").write_bytes(b"old %d" % i)
    Run(run_id="0", shards=listed(), bad=frozenset({"1.jpg"})).play(Sink(url=URL))
    for i in range(5, 9):
        (folder / f"{i}.jpg").write_bytes(b"new %d" % i)
    return Story(
        run=Run(run_id="1", shards=listed(), resume=ResumeOptions(retry_quarantined=True)),
        rows=[f"{i}.jpg" for i in range(9)],
    )


def cut_short(sink: Sink, run: Run, writes: int) -> None:
    with pytest.raises(Killed):
        run.play(Mortal(url=sink.url, life=Life(writes)))


def late(
    run_id: str, shards: Sequence[Shard], *rows: str, bad: frozenset[str]
) -> Callable[[], None]:
    """A writer of a killed run that stores its part now, past all that could stop it."""

    def store() -> None:
        run = Run(run_id=run_id, shards=shards, bad=bad)
        answers = run.answers(Sink(url=URL), [Assignment(shard=each) for each in shards])
        table = to_table([row for row in answers if row["image_id"] in rows], ANSWERED_SCHEMA)
        assert table.num_rows == len(rows)
        writer(Sink(url=URL), hold(Sink(url="memory://elsewhere"), run_id))(table)

    return store


def haunted(folder: Path) -> Story:
    """Rows of a killed run appear after the next has read which rows are done."""
    shards = [shard(folder, "a", 3), shard(folder, "b", 3)]
    rows = ("a#0", "a#1", "b#1", "b#2")
    ghost = late("0", shards, *rows, bad=frozenset({"a#1", "b#1"}))
    return Story(
        before=lambda sink: cut_short(sink, Run(run_id="0", shards=shards), 4),
        run=Run(run_id="1", shards=shards, meanwhile=ghost),
        rows=ids(a=3, b=3),
        bad=frozenset(),
    )


def doubled(folder: Path) -> Story:
    """Two runs were killed, and rows of the first are there as captions and in quarantine."""
    shards = [shard(folder, "a", 3), shard(folder, "b", 3)]
    ghost = late("0", shards, "a#0", "a#2", "b#0", bad=frozenset({"a#2", "b#0"}))

    def before(sink: Sink) -> None:
        cut_short(sink, Run(run_id="0", shards=shards), 4)
        cut_short(sink, Run(run_id="00", shards=shards, rows_per_part=2, meanwhile=ghost), 7)

    return Story(before=before, run=Run(run_id="1", shards=shards), rows=ids(a=3, b=3))


STORIES = [
    *(fresh, grown, retried, redone, overwritten, limited, questioned, images),
    *(redone_unfinished, haunted, doubled),
]


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_killed_at_any_write_and_run_again(
    tell: Callable[[Path], Story], tmp_path: Path, memory: Any
) -> None:
    story, sink = tell(tmp_path), Sink(url=URL)
    story.before(sink)
    for _ in every_death(memory, story.run):
        left = texts()
        replace(story.run, run_id="2", meanwhile=lambda: None).play(sink)
        check(story)
        done_again = {row for row in texts().items() ^ left.items() if row[0] in left}
        kept = {row for row, _ in done_again if row.partition("#")[0] not in story.anew}
        assert tell in (haunted, doubled) or not kept & set(story.rows)


def test_killed_and_killed_again(tmp_path: Path, memory: Any) -> None:
    story = retried(tmp_path)
    story.before(Sink(url=URL))
    for number, _ in enumerate(every_death(memory, story.run)):
        if number % 4 == 0:
            for _ in every_death(memory, replace(story.run, run_id="2")):
                replace(story.run, run_id="3").play(Sink(url=URL))
                check(story)


def test_rows_that_a_shard_has_not_are_refused_every_night(tmp_path: Path) -> None:
    """A file became shorter, which neither its size nor its time has told."""
    sink = Sink(url=URL)
    cut_short(sink, Run(run_id="0", shards=[shard(tmp_path, "a", 3)], rows_per_part=3), 4)
    assert texts().keys() == set(ids(a=3))
    shorter = [shard(tmp_path, "a", 1)]
    for run_id in "12":
        with pytest.raises(ReconcileError, match=r"^a: 2 rows are stored that the shard does not"):
            Run(run_id=run_id, shards=shorter).play(sink)


def every_death(memory: Any, run: Run) -> Iterator[int]:
    """Play the run from the same state again and again, with one write more each time."""
    start, pseudo_dirs = dict(memory.store), list(memory.pseudo_dirs)
    life = Life(0)
    while True:
        memory.store.clear()
        memory.store.update(start)
        memory.pseudo_dirs[:] = pseudo_dirs
        try:
            run.play(Mortal(url=URL, life=life))
        except Killed:
            yield life.left
            life = Life(life.left + 1)
        else:
            assert life.left == life.spent > 5
            yield life.left
            return


def stored(kind: str) -> dict[str, pa.Table]:
    filesystem = fsspec.filesystem("memory")
    paths = [path for path in filesystem.store if path.startswith(f"/out/{kind}/")]
    return {path: pq.read_table(filesystem.open(path)) for path in paths}


def texts() -> dict[str, str]:
    rows = (row for table in stored("captions").values() for row in table.to_pylist())
    return {row["image_id"]: row["text"] for row in rows}


def check(story: Story) -> None:
    """By what is in the parts, and that the ledger says the same."""
    captions, quarantine = stored("captions"), stored("quarantine")
    found = Counter(i for t in (captions | quarantine).values() for i in t["image_id"].to_pylist())
    assert found == Counter(story.rows)
    bad = {i for table in quarantine.values() for i in table["image_id"].to_pylist()}
    assert bad == story.bad
    for path, table in (captions | quarantine).items():
        check_metadata(table, path)
    ledger = load_ledger(Sink(url=URL))
    assert ledger is not None
    check_ledger(ledger, captions | quarantine)
    again = Run(run_id="9", shards=story.run.shards, options=story.run.options)
    assert again.play(Sink(url=URL)).num_opened == 0
    for name in {row.partition("#")[0] for row in story.rows} & story.anew:
        made = [text for row, text in texts().items() if row.startswith(f"{name}#")]
        assert all(text[0] in "12" for text in made)


def check_metadata(table: pa.Table, path: str) -> None:
    shares = json.loads(table.schema.metadata[b"hired"])["shares"]
    assert sum(share["rows"] for share in shares) == table.num_rows > 0
    digests = sum(share["digest"] for share in shares)
    assert (digests - digest(table["image_id"].to_pylist())) % 2**64 == 0
    codes: Counter[str] = Counter()
    for share in shares:
        codes.update(share["codes"])
    if "quarantine" in path:
        assert codes == Counter(table["error_code"].to_pylist())


def check_ledger(ledger: Ledger, parts: dict[str, pa.Table]) -> None:
    assert ledger.open_runs == ()
    held: Counter[str] = Counter()
    for record in ledger.records():
        assert record.complete
        assert record.withdrawn == ()
        for share in record.shares:
            held[f"/out/{share.path}"] += share.ids.rows
        in_quarantine = sum(record.codes.values())
        assert in_quarantine == record.quarantined
    assert held == {path: table.num_rows for path, table in parts.items()}


@pytest.mark.parametrize("fingerprint", [IDENTITY.fingerprint, "e" * 16])
def test_a_late_part_of_a_run_that_was_overwritten_is_taken_away(
    tmp_path: Path, fingerprint: str
) -> None:
    """Also by the next run, should the one that overwrites be killed before it is done."""
    shards = [shard(tmp_path, "a", 3)]
    sink = Sink(url=URL)
    cut_short(sink, Run(run_id="0", shards=shards), 4)
    ghost = late("0", shards, "a#0", "a#1", bad=frozenset())
    other = replace(IDENTITY, fingerprint=fingerprint)
    anew = Run(
        run_id="1",
        shards=shards,
        identity=other,
        resume=ResumeOptions(overwrite=True),
        meanwhile=ghost,
    )
    cut_short(sink, anew, 10)
    Run(run_id="2", shards=shards, identity=other).play(sink)
    tables = [table for kind in ("captions", "quarantine") for table in sink.read(kind)]
    found = [image_id for table in tables for image_id in table["image_id"].to_pylist()]
    assert sorted(found) == ids(a=3)
    made = {value for table in tables for value in table["fingerprint"].to_pylist()}
    assert made == {fingerprint}


def test_a_folder_divided_otherwise_meanwhile_is_refused(tmp_path: Path) -> None:
    """Another run has begun with the folder since this one listed it."""
    ours, theirs = (
        Shard(url=str(tmp_path), name="f", format="images", bucket=f"0/{count}", signature="{}")
        for count in (16, 32)
    )
    sink = Sink(url=URL)
    LedgerWriter(sink, hold(sink, "0"), IDENTITY).begin([theirs], ResumeOptions())
    with pytest.raises(BusyError, match="another run has begun with f"):
        LedgerWriter(sink, hold(sink, "1"), IDENTITY).begin([ours], ResumeOptions())
