"""What an output is refused for, and what of an input is to be opened."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.job.plan import Plan, make_plan
from pipeline.ledger.clear import finish_clearing
from pipeline.ledger.existing import check_fits, choose_sink, inspect_output
from pipeline.ledger.identity import CLEARING, IDENTITY, Identity, check_same, load_identity
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import ShardRecord
from pipeline.ledger.work import find_work, has_changed, opened, refuse_changed
from pipeline.parts.sink import Sink
from pipeline.rows.errors import ConfigError, InputError, StorageError
from pipeline.settings.config import InputConfig, JobConfig, OutputConfig
from pipeline.settings.fingerprint import fingerprint
from pipeline.sources import Shard, list_input
from tests.support.one_run import IDENTITY as MINE
from tests.support.one_run import Run
from tests.support.resolved import resolved
from tests.support.settings import reduction


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(url=str(tmp_path / "out"))


def identity(root: str | None = "file/in", **fields: Any) -> Identity:
    return Identity(fingerprint=fingerprint(fields), fields=fields, input_root=root)


def test_an_identity_is_stored_and_loaded(sink: Sink) -> None:
    assert load_identity(sink) is None
    mine = identity(budget=0.2, generation={"seed": 0})
    mine.save(sink)
    assert load_identity(sink) == mine


def test_an_output_of_a_later_version_is_refused(sink: Sink) -> None:
    sink.put_json(IDENTITY, {"version": 3, "anything": 1})
    with pytest.raises(StorageError, match="the output has format 3, this program writes 2"):
        load_identity(sink)


def test_another_configuration_is_refused_by_what_differs_with_the_ways_out() -> None:
    there = identity(model="m", budget=0.2, generation={"seed": 0, "top_p": 1.0})
    check_same(there, there)
    with pytest.raises(ConfigError) as caught:
        check_same(there, identity(model="m", budget=0.4, generation={"seed": 1, "top_p": 1.0}))
    line = str(caught.value)
    assert line == (
        "output: holds the results of another configuration: budget was 0.2, now 0.4; "
        "generation.seed was 0, now 1. Give another --output, or --new-run (keeps them, writes "
        "beside them), or --overwrite (deletes them)"
    )


def test_results_without_a_ledger_are_refused(sink: Sink) -> None:
    assert inspect_output(sink, overwrite=False).identity is None
    Run(run_id="r", shards=[]).play(sink)
    assert inspect_output(sink, overwrite=False).identity == MINE
    sink.put("quarantine/part-1.parquet", b"")
    sink.remove(IDENTITY)
    with pytest.raises(ConfigError, match=r"holds results but no ledger; .*verify\.py --repair"):
        inspect_output(sink, overwrite=False)
    assert inspect_output(sink, overwrite=True).identity is None
    sink.put_json(CLEARING, {"open_runs": []})  # a run was killed while it deleted them
    assert inspect_output(sink, overwrite=False).identity is None


def test_clearing_goes_on_where_it_was_killed_and_never_begins_by_itself(sink: Sink) -> None:
    for name in ("captions/part-1.parquet", "_ledger/000001-000000-r.snapshot.parquet", IDENTITY):
        sink.put(name, b"")
    finish_clearing(sink)
    assert sink.exists(IDENTITY) and sink.exists("captions/part-1.parquet")
    sink.put_json(CLEARING, {"open_runs": []})
    finish_clearing(sink)
    assert [sink.names(folder) for folder in ("captions", "_ledger")] == [[], []]


def test_names_are_relative_to_one_root(sink: Sink) -> None:
    identity("file/in", a=1).save(sink)
    existing = inspect_output(sink, overwrite=False)
    check_fits(existing, identity("file/in", a=1))
    with pytest.raises(ConfigError, match=r"^input_root: .* relative to file/in, now to file/in/x"):
        check_fits(existing, identity("file/in/x", a=1))
    identity(None, a=1).save(sink)  # as after the ledger was made anew
    check_fits(inspect_output(sink, overwrite=False), identity("file/in/x", a=1))


def test_a_new_run_goes_beside_the_old_one_and_resumes_there(sink: Sink) -> None:
    assert choose_sink(sink, "new", new_run=True) == sink
    Run(run_id="r", shards=[]).play(sink)
    assert choose_sink(sink, MINE.fingerprint, new_run=True) == sink
    assert choose_sink(sink, "new", new_run=False) == sink
    slashed = dataclasses.replace(sink, url=f"{sink.url}/", storage_options={"a": 1})
    beside = choose_sink(slashed, "new", new_run=True)
    assert beside == Sink(url=f"{sink.url}/runs/new", storage_options={"a": 1})


def shard(name: str, signature: str = "9:1", max_rows: int | None = None) -> Shard:
    url = f"/in/{name}"
    return Shard(url=url, name=name, format="parquet", signature=signature, max_rows=max_rows)


def ledger_of(*shards: Shard, complete: bool = True) -> Ledger:
    ledger = Ledger()
    for each in shards:
        ledger.put(dataclasses.replace(opened(each, None), complete=complete))
    return ledger


def test_new_and_unfinished_shards_are_opened() -> None:
    ledger = ledger_of(shard("a"))
    ledger.put(opened(shard("b"), None))
    work = find_work([shard("a"), shard("b"), shard("c")], ledger)
    assert [each.name for each in work.to_open] == ["b", "c"]
    assert (work.num_complete, work.changed) == (1, ())
    refuse_changed(work)


@pytest.mark.parametrize(
    ("before", "now", "opens"),
    [
        (None, None, False),
        (None, 3, False),
        (3, 3, False),
        (3, 2, False),
        (3, 4, True),
        (3, None, True),
    ],
)
def test_a_shard_that_was_cut_is_opened_for_more(
    before: int | None, now: int | None, opens: bool
) -> None:
    work = find_work([shard("a", max_rows=now)], ledger_of(shard("a", max_rows=before)))
    assert (len(work.to_open), work.num_complete) == (int(opens), int(not opens))


def test_changed_shards_are_refused_or_left_as_they_are() -> None:
    names = [f"s{i}" for i in range(7)]
    ledger = ledger_of(*map(shard, names))
    work = find_work([*(shard(name, "9:2") for name in names), shard("t")], ledger)
    assert [each.name for each in work.changed] == names
    assert len(work.to_open) == 8
    assert [each.name for each in work.without_changed().to_open] == ["t"]
    with pytest.raises(InputError) as caught:
        refuse_changed(work)
    assert str(caught.value) == (
        "input: changed since captioned: s0, s1, s2, s3, s4 and 2 more. Choose --on-changed redo "
        "(caption them anew) or skip (keep the captions there are)"
    )


@pytest.mark.parametrize(
    ("now", "changed", "opens"),
    [
        ({"a": "1", "b": "1"}, False, False),
        ({"a": "1", "b": "1", "c": "9"}, False, True),
        ({"a": "1"}, False, True),
        ({"a": "2", "b": "1"}, True, True),
        ({"c": "9"}, False, True),
    ],
)
def test_loose_images_may_come_and_go_but_not_be_replaced(
    now: dict[str, str], changed: bool, opens: bool
) -> None:
    before = shard("pics", json.dumps({"a": "1", "b": "1"}))
    work = find_work([shard("pics", json.dumps(now))], ledger_of(before))
    assert (bool(work.changed), bool(work.to_open)) == (changed, opens)


def test_a_record_of_an_unknown_version_is_read_again_and_not_called_changed() -> None:
    assert not has_changed("", "9:1") and not has_changed("", json.dumps({"a": "1"}))
    assert len(find_work([shard("a")], ledger_of(shard("a", ""))).to_open) == 1


def test_opening_keeps_what_is_stored_and_takes_the_version_of_now() -> None:
    record = ShardRecord(ledger_id="a", name="a", signature="9:1", complete=True, codes={"x": 1})
    now = opened(shard("a", "9:2", max_rows=4), record)
    expected = dataclasses.replace(record, signature="9:2", max_rows=4, complete=False)
    assert now == expected


def plan(folder: Path, *inputs: str, budget: float = 0.2, **output: Any) -> Plan:
    given = [str(folder / name) for name in inputs or ("in",)]
    config = JobConfig(
        input=InputConfig(input=given),
        output=OutputConfig(output=str(folder / "out"), **output),
        reduction=reduction(budget=budget),
    )
    return make_plan(resolved(config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("en", "de"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "in" / name / f"{i}.jpg").write_bytes(b"%d" % i)
    return tmp_path


def play(plan: Plan) -> None:
    Run(run_id="r", shards=plan.shards, identity=plan.identity).play(plan.sink)


def test_a_night_with_one_input_names_its_shards_as_the_night_with_two(folder: Path) -> None:
    play(plan(folder, "in/en", "in/de"))
    again = plan(folder, "in/en")
    assert again.is_done and {each.name for each in again.shards} == {"en/"}
    (folder / "x.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"^input_root: names in this output are relative to "):
        plan(folder, "in/en", "x.jpg")


def test_an_output_of_before_keeps_the_ids_that_it_has(folder: Path) -> None:
    """None is captioned twice under another name; what is new is called as the rest is."""
    before = list_input([str(folder / "in")], storage_options={}, old_names=True)
    assert {each.name for each in before.shards} == {"en", "de"}
    there = plan(folder)
    old = dataclasses.replace(there.identity, version=1)
    Run(run_id="1", shards=before.shards, identity=old).play(there.sink)
    again = plan(folder)
    assert again.is_done and again.identity == old
    assert {each.name for each in again.shards} == {"en", "de"} and again.num_complete == 2
    (folder / "in/en/7.jpg").write_bytes(b"new")
    play(plan(folder))
    ids = {i for t in there.sink.read("captions", ["image_id"]) for i in t["image_id"].to_pylist()}
    assert "en#7.jpg" in ids and all("#" in image_id for image_id in ids)
    assert load_identity(there.sink) == old
    fresh = plan(folder, overwrite=True)
    assert {each.name for each in fresh.shards} == {"en/", "de/"}


def test_a_folder_may_grow_but_not_change(folder: Path) -> None:
    play(plan(folder))
    (folder / "in/en/7.jpg").write_bytes(b"new")
    grown = plan(folder)
    assert (len(grown.work.to_open), grown.work.changed) == (1, ())
    play(grown)
    assert plan(folder).is_done
    (folder / "in/en/7.jpg").write_bytes(b"other")
    with pytest.raises(
        InputError, match=r"^input: changed since captioned: en/\[\d+/16\]\. Choose"
    ):
        plan(folder)
    assert plan(folder, on_changed="skip").is_done
    assert len(plan(folder, on_changed="redo").work.to_open) == 1


def test_another_budget_is_refused_and_gets_a_folder_of_its_own(folder: Path) -> None:
    play(plan(folder))
    with pytest.raises(ConfigError, match=r"token_budget was 0\.2, now 0\.4\. Give another"):
        plan(folder, budget=0.4)
    beside = plan(folder, budget=0.4, new_run=True)
    digest = beside.identity.fingerprint
    assert beside.sink.url == f"{folder}/out/runs/{digest}"
    assert len(beside.work.to_open) == len(beside.shards)
    play(beside)
    assert plan(folder, budget=0.4, new_run=True).is_done
    assert plan(folder).is_done
    assert not plan(folder, budget=0.4, overwrite=True).is_done
