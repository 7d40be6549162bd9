"""The proof that nothing is lost or doubled, and what it says when something is."""

from __future__ import annotations

import pytest

from pipeline.ledger.reconcile import ReportedRows, reconcile
from pipeline.rows.errors import ReconcileError
from pipeline.rows.idsum import IdSum
from pipeline.rows.schemas import ShardEnd

A, B = ["a#0", "a#1"], ["b#0", "b#1", "b#2"]


def end(ids: list[str]) -> ShardEnd:
    read = IdSum.of(ids)
    return ShardEnd(shard_rows=read.rows, shard_digest=read.digest)


def tally_of(*stored: list[str], ends: dict[str, list[str]] | None = None) -> ReportedRows:
    """Parts of one shard each, and what the shards' readers met; by default `A` and `B`."""
    reported = ReportedRows()
    for ids in stored:
        reported.stored[ids[0].partition("#")[0]] += IdSum.of(ids)
    for ledger_id, ids in ({"a": A, "b": B} if ends is None else ends).items():
        reported.ends[ledger_id].append(end(ids))
    return reported


def refusal(reported: ReportedRows, *ledger_ids: str) -> str:
    with pytest.raises(ReconcileError) as caught:
        reconcile(reported, ledger_ids)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_rows_that_add_up_pass_in_however_many_parts() -> None:
    reported = tally_of(A, B[:1], B[1:])
    reconcile(reported, ["a", "b"])
    assert reported.is_settled("a") and reported.is_settled("b")


def test_a_lost_row_is_named_by_its_shard() -> None:
    line = refusal(tally_of(A[:1], B), "a", "b")
    assert line == "rows do not add up: a: 2 rows in, 1 stored"


def test_a_doubled_row_is_named_by_its_shard() -> None:
    line = refusal(tally_of(A, A[:1], B), "a", "b")
    assert line == "rows do not add up: a: 2 rows in, 3 stored"


@pytest.mark.parametrize("stored", [["b#0", "b#1", "b#1"], ["b#0", "b#1", "b#7"]])
def test_a_row_that_stands_in_for_another_is_named_by_its_shard(stored: list[str]) -> None:
    """As many as were read, but one is doubled while another is lost."""
    reported = tally_of(A, stored)
    assert not reported.is_settled("b")
    line = refusal(reported, "a", "b")
    assert line == "rows do not add up: b: the 3 rows stored are not those read"


def test_a_lost_marker_is_named_by_its_shard() -> None:
    reported = tally_of(A, B, ends={"a": A})
    assert not reported.is_settled("b")
    line = refusal(reported, "a", "b")
    assert line == "rows do not add up: b: read to its end 0 times, planned once"


def test_a_doubled_marker_is_named_by_its_shard() -> None:
    reported = tally_of(A, B)
    reported.ends["a"].append(end(A))
    line = refusal(reported, "a", "b")
    assert line == "rows do not add up: a: read to its end 2 times, planned once"


def test_a_shard_that_was_never_read_is_named() -> None:
    line = refusal(tally_of(A, B), "a", "b", "c")
    assert line == "rows do not add up: c: read to its end 0 times, planned once"


@pytest.mark.parametrize("reported", [tally_of(A, B, ends={"a": A}), tally_of(A)])
def test_a_shard_that_nobody_planned_is_named(reported: ReportedRows) -> None:
    """Whether rows of it were stored or its marker came by."""
    assert refusal(reported, "a") == "rows do not add up: b: was not to be read"


def test_many_problems_are_counted_not_listed() -> None:
    line = refusal(tally_of(A, B), "a", "b", *(f"c{i}" for i in range(8)))
    assert "c4" in line and "c5" not in line
    assert line.endswith(" and 3 more")


def test_buckets_of_one_folder_are_told_apart() -> None:
    reported = ReportedRows()
    for bucket, ids in (("pics[0/2]", ["pics#0.jpg"]), ("pics[1/2]", ["pics#1.jpg"])):
        reported.stored[bucket] += IdSum.of(ids)
        reported.ends[bucket].append(end(ids))
    reconcile(reported, ["pics[0/2]", "pics[1/2]"])
    reported.stored["pics[0/2]"], reported.stored["pics[1/2]"] = IdSum(2), IdSum()
    assert "pics[0/2]: 1 rows in, 2 stored; pics[1/2]: 1 rows" in refusal(reported, *reported.ends)


def test_an_empty_shard_adds_up_and_asking_changes_nothing() -> None:
    reported = tally_of(ends={"a": []})
    assert reported.is_settled("a") and not reported.is_settled("b")
    reconcile(reported, ["a"])
