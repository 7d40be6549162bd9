"""Rows that kill their process: found, condemned, and nobody else pays."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

from pipeline.accounting.cost import Prices
from pipeline.rows.row import is_active, to_table
from pipeline.rows.schemas import PARTITIONED_SCHEMA
from pipeline.stages import GuardedStage
from pipeline.stages.context import StageContext
from pipeline.stages.crash_tracker import CrashTracker, CrashTrackerClient
from pipeline.stages.shared_lock import SharedLock

PRICES = Prices(gpu_hour_usd=0, cpu_hour_usd=0)
FAILED = {
    "image_id": "bad",
    "error_stage": "read",
    "error_code": "key_unsafe",
    "error_detail": "..",
}
MARKER = {"shard": "s", "shard_rows": 9}
PATIENCE_SEC = 30


class Death(BaseException):
    """The end of a process, as far as a stage can tell: nothing after it is run."""


class Local(CrashTrackerClient):
    """Asks a `CrashTracker` in this process."""

    def _ask(self, method: str, *args: Any) -> Any:
        return getattr(self.actor, method)(*args)

    def end(self, stage: str, ids: list[str]) -> None:
        self.actor.end(stage, ids)


class Fatal:
    """A stage that dies of some rows, and `outside` times of no row in particular."""

    name = "select"

    def __init__(self, context: StageContext, killers: Iterable[str], world: World) -> None:
        self.killers = set(killers)
        self.world = world
        self.meter = context.meter("select")

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        active = [row["image_id"] for row in rows if is_active(row)]
        self.world.calls.append(active)
        if self.killers & set(active) or self.world.dies_from_outside(active):
            raise Death
        with self.meter.batch(rows):
            for row in filter(is_active, rows):
                row["sha256"] = f"done {row['image_id']}"
        return to_table(rows, PARTITIONED_SCHEMA)


class World:
    """What outlives a process: its crashes, and what was seen of it.

    Args:
        outside: rows during which the process is killed from outside, once for each mention.
    """

    def __init__(self, *outside: str) -> None:
        self.crash_tracker = CrashTracker()
        self.outside = list(outside)
        self.calls: list[list[str]] = []
        self.deaths = 0

    def dies_from_outside(self, active: list[str]) -> bool:
        hit = next((row_id for row_id in self.outside if row_id in active), None)
        if hit is not None:
            self.outside.remove(hit)
        return hit is not None

    def run(self, rows: list[dict[str, Any]], *killers: str) -> list[dict[str, Any]]:
        """As Ray does: a new process for each that dies, and the same batch again."""
        context = StageContext(
            run_id="r", prices=PRICES, crash_tracker=Local(actor=self.crash_tracker)
        )
        while True:
            process = GuardedStage(Fatal, context, killers, self)
            try:
                found: list[dict[str, Any]] = process(
                    to_table(rows, PARTITIONED_SCHEMA)
                ).to_pylist()
            except Death:
                self.deaths += 1
                assert self.deaths < 50, "for ever"
            else:
                assert [r["image_id"] for r in found] == [r.get("image_id") for r in rows]
                return found


def rows_of(ids: str) -> list[dict[str, Any]]:
    return [{"image_id": row_id} for row_id in ids]


def ends(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    return {row["image_id"]: row["error_code"] or row["sha256"] for row in rows}


def done(ids: str) -> dict[str, str]:
    return {row_id: f"done {row_id}" for row_id in ids}


def test_a_batch_that_ends_is_run_once_and_leaves_nothing_behind() -> None:
    world = World()
    assert ends(world.run(rows_of("abcd"))) == done("abcd")
    assert world.calls == [list("abcd")]
    assert world.crash_tracker._begun == {}


def test_a_process_killed_from_outside_costs_a_run_row_by_row() -> None:
    world = World("c")
    assert ends(world.run(rows_of("abcd"))) == done("abcd")
    assert world.calls == [list("abcd"), ["a"], ["b"], ["c"], ["d"]]
    assert world.crash_tracker._begun == {}
    world.run(rows_of("abcd"))
    assert world.calls[5:] == [list("abcd")]


def test_a_row_that_kills_is_condemned_after_two_deaths_alone() -> None:
    world = World()
    found = world.run(rows_of("abcd"), "c")
    assert ends(found) == done("abd") | {"c": "row_kills_process"}
    assert found[2]["error_stage"] == "select"
    assert world.deaths == 1 + 2
    assert [call for call in world.calls if "c" in call] == [list("abcd"), ["c"], ["c"]]


def test_each_of_several_that_kill_is_condemned_once_and_for_all() -> None:
    world = World()
    found = world.run(rows_of("abcdef"), "a", "c", "f")
    codes = dict.fromkeys("acf", "row_kills_process")
    assert ends(found) == done("bde") | codes
    assert world.deaths == 1 + 3 * 2


def test_a_condemned_row_stays_so_when_its_batch_is_run_again() -> None:
    """As after the loss of a node that held the result."""
    world = World()
    first = ends(world.run(rows_of("abc"), "b"))
    deaths = world.deaths
    assert ends(world.run(rows_of("abc"), "b")) == first
    assert world.deaths == deaths


def test_a_batch_of_one_row_is_a_batch_like_any_other() -> None:
    """Others may run beside it, so that its first death is not proof."""
    world = World()
    rows = [FAILED, *rows_of("a"), MARKER]
    assert ends(world.run(rows, "a"))["a"] == "row_kills_process"
    assert world.deaths == 1 + 2


def test_one_death_alone_condemns_nobody() -> None:
    world = World("b", "b")
    assert ends(world.run(rows_of("abc"))) == done("abc")
    assert world.deaths == 2
    assert world.crash_tracker._begun == {}


def test_a_row_that_ended_in_between_starts_afresh() -> None:
    world = World("b", "b")
    world.run(rows_of("abc"))
    world.outside = ["b", "b"]
    assert ends(world.run(rows_of("abc"))) == done("abc")


def test_markers_and_failed_rows_pass_and_are_not_announced() -> None:
    world = World()
    rows = [FAILED, *rows_of("ab"), MARKER, *rows_of("c")]
    found = world.run(rows, "b")
    assert found[0]["error_code"] == "key_unsafe"
    assert found[3]["shard_rows"] == 9
    assert [row["error_code"] for row in found[1:3]] == [None, "row_kills_process"]
    assert set(world.crash_tracker._begun) == {("select", "b")}


@pytest.mark.parametrize("rows", [[], [MARKER], [FAILED, MARKER]])
def test_a_batch_without_work_is_run_as_it_is(rows: list[dict[str, Any]]) -> None:
    world = World()
    assert len(world.run(rows)) == len(rows)
    assert world.calls == [[]]


def test_no_statistics_are_lost_row_by_row() -> None:
    rows = rows_of("abc")
    rows[0]["stats"], rows[2]["stats"] = ['{"stage": "read"}'], ['{"stage": "partition"}']
    found = World("b").run(rows)
    records = [json.loads(text) for row in found for text in row["stats"]]
    assert sorted(record["stage"] for record in records) == ["partition", "read", *["select"] * 3]
    assert sum(record.get("num_images", 0) for record in records) == 3


def test_stages_do_not_share_strikes() -> None:
    tracker = CrashTracker()
    assert tracker.begin_together("select", ["a", "b"])
    assert tracker.begin_together("generate", ["a", "b"])
    assert not tracker.begin_together("select", ["b", "c"])
    tracker.end("select", ["a", "b"])
    assert tracker.begin_together("select", ["b", "c"])


def test_without_a_tracker_stages_go_on() -> None:
    context = dataclasses.replace(
        StageContext(run_id="r", prices=PRICES), crash_tracker=CrashTrackerClient()
    )
    table = to_table(rows_of("ab"), PARTITIONED_SCHEMA)
    world = World()
    assert ends(GuardedStage(Fatal, context, "", world)(table).to_pylist()) == done("ab")
    assert ends(GuardedStage(Fatal, context, "", world)(table.slice(1)).to_pylist()) == done("b")
    assert world.calls == [["a", "b"], ["b"]]


class Slow:
    """A stage that stays in a batch until it is let go, and notes which batches are in it."""

    name = "select"

    def __init__(self, context: StageContext, room: Room) -> None:
        self.room = room

    def __call__(self, table: pa.Table) -> pa.Table:
        ids = "".join(row["image_id"] for row in table.to_pylist())
        with self.room.changed:
            self.room.inside.append(ids)
            self.room.changed.notify_all()
            assert self.room.changed.wait_for(lambda: ids in self.room.let_go, PATIENCE_SEC)
            self.room.inside.remove(ids)
            self.room.changed.notify_all()
        return table


class Room:
    """Where the batches of one process are; a thread for each call."""

    def __init__(self, *suspects: str) -> None:
        self.changed = threading.Condition()
        self.inside: list[str] = []
        self.let_go: set[str] = set()
        tracker = CrashTracker()
        tracker.begin_together("select", list(suspects))
        context = StageContext(run_id="r", prices=PRICES, crash_tracker=Local(actor=tracker))
        self.lock = SharedLock()
        # As in `ModelStages`: two stages, one process.
        self.stages = [GuardedStage(Slow, context, self, lock=self.lock) for _ in range(2)]

    def send(self, ids: str, stage: int = 0) -> threading.Thread:
        table = to_table(rows_of(ids), PARTITIONED_SCHEMA)
        thread = threading.Thread(target=self.stages[stage], args=(table,), daemon=True)
        thread.start()
        return thread

    def holds(self, *batches: str) -> bool:
        with self.changed:
            wanted = sorted(batches)
            return self.changed.wait_for(lambda: sorted(self.inside) == wanted, PATIENCE_SEC)

    def waits_at_lock(self, count: int) -> bool:
        deadline = time.monotonic() + PATIENCE_SEC
        while time.monotonic() < deadline:
            with self.lock._changed:
                if len(self.lock._changed._waiters) == count:  # type: ignore[attr-defined]
                    return True
        return False

    def release(self, *batches: str) -> None:
        with self.changed:
            self.let_go |= set(batches)
            self.changed.notify_all()


def test_batches_run_side_by_side_in_one_process() -> None:
    room = Room()
    threads = [room.send("ab"), room.send("cd", stage=1), room.send("ef")]
    assert room.holds("ab", "cd", "ef")
    room.release("ab", "cd", "ef")
    for thread in threads:
        thread.join(PATIENCE_SEC)
    assert room.holds()


def test_a_row_under_suspicion_has_its_process_to_itself() -> None:
    """It waits until what runs has ended; what comes later waits for it, at either stage."""
    room = Room("x")
    before = room.send("ab", stage=1)
    assert room.holds("ab")
    suspects = room.send("xy")
    assert room.waits_at_lock(1) and room.holds("ab")
    later = room.send("cd", stage=1)
    assert room.waits_at_lock(2) and room.holds("ab")
    room.release("ab")
    assert room.holds("x")
    assert room.waits_at_lock(1) and room.holds("x")
    room.release("x", "cd")
    assert room.holds("y")
    room.release("y")
    for thread in (before, suspects, later):
        thread.join(PATIENCE_SEC)
        assert not thread.is_alive()
    assert room.holds()


def test_two_batches_under_suspicion_take_turns() -> None:
    room = Room("x", "v")
    threads = [room.send("xy"), room.send("vw", stage=1)]
    seen = []
    for _ in range(4):
        with room.changed:
            assert room.changed.wait_for(lambda: room.inside, PATIENCE_SEC)
            (only,) = room.inside
        seen.append(only)
        room.release(only)
        with room.changed:
            assert room.changed.wait_for(lambda only=only: only not in room.inside, PATIENCE_SEC)
    for thread in threads:
        thread.join(PATIENCE_SEC)
        assert not thread.is_alive()
    assert sorted(seen) == ["v", "w", "x", "y"]
