"""Records and the ledger in memory: nothing changes on the way to a table and back."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.ledger.ledger import Ledger, Totals
from pipeline.ledger.records import RECORD_SCHEMA, ShardRecord, to_table
from pipeline.parts.entries import Share
from pipeline.rows.idsum import IdSum


def captions(run: str, *ids: str) -> Share:
    return Share(path=f"captions/part-{run}-ab.parquet", ids=IdSum.of(ids))


def bad(run: str, *ids: str, code: str = "image_empty") -> Share:
    path = f"quarantine/part-{run}-ab.parquet"
    return Share(path=path, ids=IdSum.of(ids), codes={code: len(ids)})


def record(ledger_id: str, *shares: Share, **more: object) -> ShardRecord:
    name = ledger_id.partition("[")[0]
    bare = ShardRecord(ledger_id=ledger_id, name=name, signature="9:1.5")
    return dataclasses.replace(bare.with_shares(shares), **more)  # type: ignore[arg-type]


A = record("a", captions("1", "a#0", "a#1"), bad("1", "a#2"), complete=True, max_rows=3)
B = record("b", captions("2", "b#0"), bad("2", "b#1", code="x"), bad("1", "b#2", code="x"))
EMPTY = record("c", complete=True)
VOID = record("d", withdrawn=("captions/part-1-ab.parquet", "quarantine/part-1-ab.parquet"))
ALL = (A, B, EMPTY, VOID)


def plain(record: ShardRecord) -> ShardRecord:
    """Stored shares have no codes of their own: the record has them."""
    shares = tuple(dataclasses.replace(share, codes={}) for share in record.shares)
    return dataclasses.replace(record, shares=shares)


def folded(*records: ShardRecord) -> Ledger:
    return Ledger(base=to_table(records))


@pytest.mark.parametrize("record", ALL, ids=lambda record: record.ledger_id)
def test_a_record_survives_the_way_to_a_row_and_back(record: ShardRecord) -> None:
    (row,) = to_table([record]).to_pylist()
    back = ShardRecord.from_row(row)
    assert back == plain(record)
    assert back.to_row() == row == record.to_row()
    counts = [(r.ids, r.captions, r.quarantined) for r in (back, record)]
    assert counts[0] == counts[1]


def test_a_record_adds_up() -> None:
    assert B.ids == IdSum.of(["b#0", "b#1", "b#2"])
    assert (B.captions, B.quarantined, dict(B.codes)) == (1, 2, {"x": 2})
    more = B.with_shares([captions("3", "b#3"), bad("3", "b#4")])
    assert (more.captions, more.quarantined) == (2, 3)
    assert more.codes == {"x": 2, "image_empty": 1}


def test_rows_declared_void_leave_the_sums_and_stay_to_be_taken_out() -> None:
    quarantine = [share.path for share in B.shares if share.in_quarantine]
    left = dataclasses.replace(B, complete=True).without(quarantine)
    assert not left.complete
    assert (left.captions, left.quarantined, left.codes) == (1, 0, {})
    assert left.withdrawn == tuple(sorted(quarantine))
    again = left.with_shares([bad("3", "b#1")]).without(["captions/part-2-ab.parquet"])
    assert again.withdrawn == (*sorted(quarantine), "captions/part-2-ab.parquet")
    assert again.codes == {"image_empty": 1}
    with pytest.raises(AssertionError):
        B.without(quarantine[:1])


def test_a_changed_record_stands_for_the_one_in_the_table() -> None:
    ledger = folded(A, B)
    newer = dataclasses.replace(A, complete=False, signature="new", shares=(), codes={})
    ledger.put(newer)
    ledger.put(EMPTY)
    assert ledger.get("a") == newer and ledger.get("b") == plain(B) and ledger.get("c") == EMPTY
    assert ledger.facts("a") == (False, "new", 3)
    assert ledger.facts("b") == (False, "9:1.5", None)
    assert ledger.get("z") is None and ledger.facts("z") is None
    assert [i in ledger for i in "abcz"] == [True, True, True, False]
    assert ledger.totals() == Totals(captions=1, quarantined=2, codes={"x": 2})
    assert {r.ledger_id for r in ledger.records()} == {"a", "b", "c"}
    assert sum(1 for _ in ledger.records()) == 3


def test_folding_changes_nothing_but_where_records_are() -> None:
    ledger = folded(A, B)
    for changed in (dataclasses.replace(B, complete=True), EMPTY, VOID):
        ledger.put(changed)
    before = {i: ledger.get(i) for i in "abcd"}, ledger.totals(), ledger.to_table().num_rows
    facts = [ledger.facts(i) for i in "abcd"]
    ledger.fold()
    assert ledger.changed == {} and ledger.base.schema.equals(RECORD_SCHEMA)
    after = {i: ledger.get(i) for i in "abcd"}, ledger.totals(), ledger.to_table().num_rows
    assert after == ({i: r and plain(r) for i, r in before[0].items()}, *before[1:])
    assert [ledger.facts(i) for i in "abcd"] == facts
    assert ledger.totals().rows == 6
    ledger.fold()
    assert ledger.base.num_rows == 4


@pytest.mark.parametrize("fold", [True, False])
def test_records_are_selected_by_what_they_have(fold: bool) -> None:
    ledger = folded(A, VOID)
    for changed in (B, EMPTY):
        ledger.put(changed)
    if fold:
        ledger.fold()
    expected = {"quarantined": "ab", "withdrawn": "d", "complete": "ac", "max_rows": "a"}
    found = {c: sorted(r.ledger_id for r in ledger.select(c)) for c in expected}
    assert found == {column: list(ids) for column, ids in expected.items()}


@pytest.mark.parametrize("fold", [True, False])
def test_parts_are_known_by_the_run_that_wrote_them(fold: bool) -> None:
    ledger = folded(A)
    ledger.put(record("e", captions("10", "e#0")))
    ledger.put(B)
    if fold:
        ledger.fold()
    part = {run: f"part-{run}-ab.parquet" for run in ("1", "2", "10")}
    assert ledger.paths_of_runs(["1"]) == {f"captions/{part['1']}", f"quarantine/{part['1']}"}
    assert ledger.paths_of_runs(["10", "x"]) == {f"captions/{part['10']}"}
    assert len(ledger.paths_of_runs(["2", "1"])) == 4
    assert ledger.paths_of_runs([]) == set()
    ledger.put(dataclasses.replace(A, shares=()))
    assert ledger.paths_of_runs(["1"]) == {f"quarantine/{part['1']}"}  # of b


def test_folders_keep_the_number_of_their_buckets() -> None:
    ledger = folded(record("pics[3/16]"), record("a.tar"))
    ledger.put(record("x[1]/y[0/32]"))
    ledger.put(record("not[1/2].tar"))
    assert ledger.buckets() == {"pics": 16, "x[1]/y": 32}


def test_an_empty_ledger_has_nothing() -> None:
    ledger = Ledger()
    ledger.fold()
    assert ledger.totals() == Totals(captions=0, quarantined=0, codes={})
    assert list(ledger.select("quarantined")) == [] == list(ledger.records())
