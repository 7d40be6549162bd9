"""Parts that no record names, rows taken out of parts again, and rows that are there twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger.duplicates import remove_duplicates
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.leftovers import unknown_parts, withdraw_void
from pipeline.ledger.records import ShardRecord
from pipeline.parts.entries import Share, entries_of, read_entries
from pipeline.parts.remove_rows import remove_ids, remove_shards
from pipeline.parts.sink import Sink
from pipeline.rows.idsum import IdSum
from pipeline.rows.row import to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA
from pipeline.sources.images import bucket_of
from tests.support.one_run import hold, writer


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(url=str(tmp_path / "out"))


def answer(image_id: str, code: str | None = None) -> dict[str, Any]:
    """Rows of the shard 'pics' lie in two buckets by their key."""
    shard, _, key = image_id.partition("#")
    row = {"image_id": image_id, "shard": shard, "key": key, "error_code": code}
    return row | {"ledger_id": bucket(key) if shard == "pics" else shard}


def bucket(key: str) -> str:
    return f"pics[{bucket_of(key, 2)}/2]"


def store(sink: Sink, *ids: str, bad: Sequence[str] = (), run_id: str = "r") -> None:
    """One part as the write stage makes it, and one in quarantine under the same name."""
    rows = [answer(i) for i in ids] + [answer(i, "x") for i in bad]
    writer(sink, hold(sink, run_id))(to_table(rows, ANSWERED_SCHEMA))


def record(ledger_id: str, *shares: Share, withdrawn: tuple[str, ...] = ()) -> ShardRecord:
    name = ledger_id.partition("[")[0]
    bare = ShardRecord(ledger_id=ledger_id, name=name, signature="1", withdrawn=withdrawn)
    return bare.with_shares(shares)


def known(sink: Sink, ledger_id: str) -> ShardRecord:
    """With all that the parts say of it."""
    paths = [path for kind in ("captions", "quarantine") for path in sink.parts(kind)]
    return record(
        ledger_id, *(h.share for h in read_entries(sink, paths) if h.ledger_id == ledger_id)
    )


def rows(sink: Sink, kind: str = "captions") -> list[str]:
    return sorted(i for table in sink.read(kind) for i in table["image_id"].to_pylist())


def check_metadata(sink: Sink) -> None:
    """Each part says of itself what is in it."""
    for path in (*sink.parts("captions"), *sink.parts("quarantine")):
        table = sink.read_part(path).to_pylist()
        entries = {each.ledger_id: each.share for each in entries_of(sink, path)}
        ids = {i: [row["image_id"] for row in table if of(row) == i] for i in entries}
        assert {i: share.ids for i, share in entries.items()} == {i: IdSum.of(ids[i]) for i in ids}
        assert sum(map(len, ids.values())) == len(table) > 0
        if path.startswith("quarantine/"):
            assert sum(share.codes["x"] for share in entries.values()) == len(table)


def of(row: dict[str, Any]) -> str:
    return bucket(row["key"]) if row["shard"] == "pics" else row["shard"]


def test_parts_of_open_runs_that_no_record_names_are_found(sink: Sink) -> None:
    store(sink, "a#0", "b#0", bad=["a#1"], run_id="r1")
    store(sink, "a#2", run_id="r1")
    store(sink, "a#3", run_id="r10")
    store(sink, "a#4", run_id="r2")
    (both, quarantined) = (s.path for s in known_in(sink, "a", "a#0", "a#1"))
    ledger = Ledger()
    ledger.put(record("b", Share(path=both, ids=IdSum.of(["b#0"]))))
    (late,) = (s.path for s in known_in(sink, "a", "a#2"))
    (other,) = sink.parts("captions", "r2")
    assert unknown_parts(sink, ledger, ["r1"]) == [late, quarantined]
    assert unknown_parts(sink, ledger, ["r1", "r2"]) == [late, other, quarantined]
    assert unknown_parts(sink, ledger, []) == []
    assert entries_of(sink, "captions/part-gone.parquet") == []


def known_in(sink: Sink, ledger_id: str, *ids: str) -> list[Share]:
    """Shares of a shard that hold any of these ids alone."""
    sums = [IdSum.of([i]) for i in ids]
    return [share for share in known(sink, ledger_id).shares if share.ids in sums]


def test_a_shards_rows_are_taken_out_and_others_stay(sink: Sink) -> None:
    store(sink, "a#0", "b#0", "a#1", bad=["a#2", "b#1"])
    store(sink, "a#3")
    for _ in range(2):  # done twice, it changes nothing
        for share in known(sink, "a").shares or (Share(path="captions/x", ids=IdSum()),):
            remove_shards(sink, share.path, [record("a")])
        assert (rows(sink), rows(sink, "quarantine")) == (["b#0"], ["b#1"])
        check_metadata(sink)
    assert len(sink.parts("captions")) == 1
    kept = sink.metadata(sink.parts("captions")[0])
    assert (kept["run_id"], kept["model"]) == ("r", "m")


def test_only_one_bucket_of_a_folder_is_taken_out(sink: Sink) -> None:
    ids = [f"pics#{i}.jpg" for i in range(12)]
    store(sink, *ids, "a#0")
    (path,) = sink.parts("captions")
    remove_shards(sink, path, [record("pics[1/2]")])
    left = [i for i in ids if bucket_of(i.partition("#")[2], 2) == 0]
    assert rows(sink) == sorted([*left, "a#0"])
    assert 0 < len(left) < 12
    check_metadata(sink)
    remove_shards(sink, path, [record("pics[0/2]"), record("a"), record("unknown")])
    assert sink.parts("captions") == []


def test_what_records_note_as_void_is_carried_out_and_settled(sink: Sink) -> None:
    store(sink, "a#0", "b#0", "c#0", bad=["a#1"])
    good, bad = sink.parts("captions") + sink.parts("quarantine")
    ledger = Ledger()
    ledger.put(record("a", withdrawn=(good, bad)))
    ledger.put(record("b", withdrawn=(good, "captions/part-gone.parquet")))
    ledger.fold()
    ledger.put(record("c", Share(path=good, ids=IdSum.of(["c#0"]))))
    for _ in range(2):
        settled = withdraw_void(sink, ledger)
        assert [(r.ledger_id, r.withdrawn) for r in settled] == [("a", ()), ("b", ())]
        assert (rows(sink), rows(sink, "quarantine")) == (["c#0"], [])
        check_metadata(sink)


def test_rows_are_taken_out_by_id(sink: Sink) -> None:
    store(sink, "a#0", "a#1", "b#0")
    (path,) = sink.parts("captions")
    left = remove_ids(sink, path, record("a"), {"a#0", "b#0", "a#7"})  # b#0 is not of a
    assert left == Share(path=path, ids=IdSum.of(["a#1"]))
    assert rows(sink) == ["a#1", "b#0"]
    check_metadata(sink)
    assert remove_ids(sink, path, record("a"), {"a#1"}) is None
    assert rows(sink) == ["b#0"]
    assert remove_ids(sink, path, record("b"), {"b#0"}) is None
    assert sink.parts("captions") == []


def test_of_doubled_rows_one_stays_a_caption_rather_than_a_failure(sink: Sink) -> None:
    store(sink, "a#0", "a#1", "b#0", bad=["a#2", "a#3"], run_id="r1")
    store(sink, "a#1", "a#2", "b#1", bad=["a#0", "a#4", "b#2"], run_id="r2")
    before = rows(sink, "quarantine")
    assert before == ["a#0", "a#2", "a#3", "a#4", "b#2"]
    for _ in range(2):
        left = remove_duplicates(sink, known(sink, "a"))
        assert rows(sink) == ["a#0", "a#1", "a#2", "b#0", "b#1"]
        assert rows(sink, "quarantine") == ["a#3", "a#4", "b#2"]
        assert left.ids == IdSum.of(f"a#{i}" for i in range(5))
        assert (left.captions, left.quarantined, left.codes) == (3, 2, {"x": 2})
        check_metadata(sink)


def test_doubled_rows_of_one_bucket_only(sink: Sink) -> None:
    ids = [f"pics#{i}.jpg" for i in range(8)]
    mine = [i for i in ids if bucket(i.partition("#")[2]) == "pics[0/2]"]
    store(sink, *ids, run_id="r1")
    store(sink, *ids, run_id="r2")
    left = remove_duplicates(sink, known(sink, "pics[0/2]"))
    assert left.ids == IdSum.of(mine)
    assert rows(sink) == sorted(ids + [i for i in ids if i not in mine])
    check_metadata(sink)


def test_a_part_without_doubles_is_not_written_again(sink: Sink) -> None:
    store(sink, "a#0", "a#1", bad=["a#2"])
    files = [Path(sink.url, name) for name in sink.parts("captions") + sink.parts("quarantine")]
    inodes = [file.stat().st_ino for file in files]
    assert remove_duplicates(sink, known(sink, "a")).ids.rows == 3
    assert [file.stat().st_ino for file in files] == inodes
