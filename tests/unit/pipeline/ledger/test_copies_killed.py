"""Duplicates in a run that is killed at any write or delete, and run again: every row is there
exactly once, with the caption of its own bytes; none waits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ledger.writer import ResumeOptions
from pipeline.parts.sink import Sink
from pipeline.rows.errors import ReconcileError
from pipeline.sources import Shard
from pipeline.stages import fill as fill_module
from tests.support.one_run import Run
from tests.unit.pipeline.ledger.test_writer import (
    ASKING,
    URL,
    Story,
    check,
    cut_short,
    every_death,
    ids,
    late,
    memory,
    stored,
)

__all__ = ["memory"]  # a fixture


def shard(folder: Path, name: str, contents: str, version: str = "v1") -> Shard:
    """An image for each letter; the same letter is the same image. Each is asked x, some y too."""
    images = [letter.encode() for letter in contents]
    questions = [["x?", "y?"][: 1 + i % 2] for i in range(len(contents))]
    table = pa.table({"image": pa.array(images, type=pa.binary()), "q": questions})
    pq.write_table(table, folder / name)
    return Shard(url=str(folder / name), name=name, format="parquet", signature=version)


def run(run_id: str, shards: Sequence[Shard], **more: Any) -> Run:
    return Run(run_id=run_id, shards=shards, copies=True, rows_per_part=6, **more)


def fresh(folder: Path) -> Story:
    """Within a shard, across shards, and of an image that fails whichever row has it."""
    shards = [shard(folder, "a", "ABAC"), shard(folder, "b", "CABDB"), shard(folder, "c", "BB")]
    bad = frozenset({"a#1", "b#2", "b#4", "c#0", "c#1"})
    return Story(run=run("1", shards, bad=bad), rows=ids(a=4, b=5, c=2), bad=bad)


def grown(folder: Path) -> Story:
    shards = [shard(folder, "a", "AB"), shard(folder, "b", "BCA"), shard(folder, "c", "CAD")]
    return Story(before=run("0", shards[:2]).play, run=run("1", shards), rows=ids(a=2, b=3, c=3))


def kept_before(folder: Path) -> Story:
    """The first night captioned each."""
    shards = [shard(folder, "a", "AA"), shard(folder, "b", "BABB")]
    return Story(
        before=replace(run("0", shards[:1]), copies=False).play,
        run=run("1", shards),
        rows=ids(a=2, b=4),
    )


def retried(folder: Path) -> Story:
    """Rows that were quarantined as their first was are done again as it is."""
    shards = [shard(folder, "a", "ABA"), shard(folder, "b", "BAC")]
    bad = frozenset({"a#0", "a#2", "b#1"})
    return Story(
        before=run("0", shards, bad=bad | {"a#1"}).play,
        run=run("1", shards, bad=bad, resume=ResumeOptions(retry_quarantined=True)),
        rows=ids(a=3, b=3),
        bad=bad,
    )


def firsts_redone(folder: Path) -> Story:
    """Copies keep the captions of the bytes that they still have, and new ones get them."""
    before = [shard(folder, "a", "AB"), shard(folder, "b", "BAC")]
    run("0", before).play(Sink(url=URL))
    after = [shard(folder, "a", "XC", "v2"), before[1], shard(folder, "c", "AXB")]
    return Story(
        run=run("1", after, resume=ResumeOptions(on_changed="redo")),
        rows=ids(a=2, b=3, c=3),
    )


def questioned(folder: Path) -> Story:
    """An image with two questions, one of which was asked of it before."""
    shards = [shard(folder, "a", "AB"), shard(folder, "b", "BABA")]
    names = [*("a#0#q0", "a#1#q0", "a#1#q1", "b#0#q0", "b#1#q0", "b#1#q1", "b#2#q0")]
    return Story(run=run("1", shards, options=ASKING), rows=[*names, "b#3#q0", "b#3#q1"])


def haunted(folder: Path) -> Story:
    """Rows of a killed run appear late: captions, and rows that wait for one."""
    shards = [shard(folder, "a", "ABA"), shard(folder, "b", "BAC")]
    ghost = late("0", shards, "a#0", "a#1", "b#2", bad=frozenset())
    return Story(
        before=lambda sink: cut_short(sink, run("0", shards), 4),
        run=run("1", shards, meanwhile=ghost),
        rows=ids(a=3, b=3),
    )


STORIES = [fresh, grown, kept_before, retried, firsts_redone, questioned, haunted]


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_killed_at_any_write_and_run_again(
    tell: Callable[[Path], Story], tmp_path: Path, memory: Any
) -> None:
    story, sink = tell(tmp_path), Sink(url=URL)
    story.before(sink)
    for _ in every_death(memory, story.run):
        replace(story.run, run_id="2", meanwhile=lambda: None).play(sink)
        check(story)
        check_copies(tmp_path, story)


def test_killed_while_some_are_filled_on_the_way(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill_module, "ROWS_AT_ONCE", 2)
    story = grown(tmp_path)
    story.before(Sink(url=URL))
    for _ in every_death(memory, replace(story.run, rows_per_part=2, lag=1)):
        replace(story.run, run_id="2").play(Sink(url=URL))
        check(story)
        check_copies(tmp_path, story)


def check_copies(folder: Path, story: Story) -> None:
    """By what is in the parts and in the shards."""
    assert stored("waiting") == {}
    rows = [row for table in stored("captions").values() for row in table.to_pylist()]
    contents = {
        f"{each.name}#{i}": data
        for each in story.run.shards
        for i, data in enumerate(pq.read_table(folder / each.name)["image"].to_pylist())
    }
    for row in rows:
        data = contents[row["image_id"].partition("#q")[0]]
        assert row["text"].endswith(f" saw {data!r}")
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["image_id"] != row["duplicate_of"]
        assert row["run_id"] in row_runs(row)


def row_runs(row: dict[str, Any]) -> set[str]:
    """A copy may be of another night than the text it has, other rows may not."""
    return {"0", "1", "2"} if row["duplicate_of"] else {row["text"].partition(" ")[0]}


def test_copies_of_an_undisturbed_run_name_their_first(tmp_path: Path) -> None:
    run("1", fresh(tmp_path).run.shards).play(Sink(url=URL))
    rows = [row for table in stored("captions").values() for row in table.to_pylist()]
    assert {row["image_id"]: row["duplicate_of"] for row in rows if row["duplicate_of"]} == {
        "a#2": "a#0",
        "a#3": "b#0",
        "b#1": "a#0",  # shards are read side by side
        "b#2": "a#1",
        "b#4": "a#1",
        "c#0": "a#1",
        "c#1": "a#1",
    }


def test_quarantined_copies_name_their_first(tmp_path: Path) -> None:
    fresh(tmp_path).run.play(Sink(url=URL))
    rows = [row for table in stored("quarantine").values() for row in table.to_pylist()]
    details = {row["image_id"]: row["error_detail"] for row in rows}
    assert details.pop("a#1") == "as told"
    assert set(details.values()) == {"as a#1: as told"}
    assert {row["error_code"] for row in rows} == {"generation_failed"}


def test_a_first_that_somebody_deleted_stops_the_run_and_the_next_one_mends(
    tmp_path: Path,
) -> None:
    shards = [shard(tmp_path, "a", "AB"), shard(tmp_path, "b", "BA")]
    sink = Sink(url=URL)
    run("0", shards[:1]).play(sink)

    def delete() -> None:
        for path in sink.parts("captions"):
            table = sink.read_part(path)
            sink.write(path, table.slice(0, 1), sink.metadata(path))

    with pytest.raises(ReconcileError, match=r"^b#0: a#1, whose caption it gets, is not stored"):
        run("1", shards, meanwhile=delete).play(sink)
    run("2", shards).play(sink)
    rows = [row for table in stored("captions").values() for row in table.to_pylist()]
    assert {row["image_id"] for row in rows} == {"a#0", "b#0", "b#1"}
    assert stored("waiting") == {}
