"""Answered rows become parts: the promised columns, a name that repeats, a true summary."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.accounting.cost import Prices
from pipeline.parts.sink import KINDS, METADATA_KEY, Sink
from pipeline.rows.errors import StorageError
from pipeline.rows.extras import ExtraColumns
from pipeline.rows.row import CARRIED, PARSED, to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA, QUARANTINE_SCHEMA, SUMMARY_SCHEMA, ShardEnd
from pipeline.stages import WriteStage
from pipeline.stages.context import StageContext
from pipeline.stages.write import Provenance
from tests.support.one_run import hold
from tests.support.source_files import digest

CONTEXT = StageContext(run_id="run-1", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0))
PROVENANCE = {
    "model": "embedded",
    "method": "hired",
    "token_budget": 0.2,
    "fingerprint": "f" * 16,
    "run_id": "run-1",
}
CAPTIONS = [
    "image_id",
    "shard",
    "key",
    "sha256",
    "width",
    "height",
    "prompt_name",
    "prompt",
    "text",
    "finish_reason",
    "flags",
    "image_notes",
    "num_partitions",
    "visual_tokens_dense",
    "visual_tokens_kept",
    "partition_budgets",
    "prompt_tokens",
    "output_tokens",
    "duplicate_of",
    "duplicate_distance",
    "phash",
    "model",
    "method",
    "token_budget",
    "fingerprint",
    "run_id",
]


def answer(image_id: str, **more: Any) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "shard": image_id.partition("#")[0],
        "ledger_id": image_id.partition("#")[0],
        "key": image_id.partition("#")[2],
        "sha256": "ab" * 32,
        "width": 30,
        "height": 20,
        "num_partitions": 3,
        "visual_tokens_dense": 432,
        "visual_tokens_kept": 144,
        "partition_budgets": [72, 36, 36],
        "prompt_name": "short",
        "prompt": "Describe.",
        "text": "a red disc",
        "finish_reason": "stop",
        "flags": ["long"],
        "image_notes": ["frame_2"],
        "prompt_tokens": 80,
        "output_tokens": 4,
        "duplicate_of": None,
        "duplicate_distance": None,
        "phash": -7,
    } | more


def failure(image_id: str) -> dict[str, Any]:
    shard, _, key = image_id.partition("#")
    return {
        "image_id": image_id,
        "shard": shard,
        "ledger_id": shard,
        "key": key,
        "error_stage": "partition",
        "error_code": "image_corrupt",
        "error_detail": "no",
    }


def marker(shard: str, rows: int, *stats: str, bucket: str = "") -> dict[str, Any]:
    names = {"shard": shard, "ledger_id": f"{shard}[{bucket}]" if bucket else shard}
    return names | vars(end(rows)) | {"stats": list(stats)}


def end(rows: int) -> ShardEnd:
    return ShardEnd(shard_rows=rows, shard_digest=5, skipped_rows=2, skipped_digest=7)


def record(stage: str) -> str:
    return json.dumps({"run_id": "run-1", "stage": stage, "num_images": 2})


ROWS = [
    answer("a#0", stats=[record("read"), record("select")]),
    failure("a#1"),
    answer("b#0", stats=[record("generate")]),
    marker("a", 2, record("read")),
]


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(url=str(tmp_path))


def write(sink: Sink, rows: list[dict[str, Any]], run_id: str = "run-1") -> list[dict[str, Any]]:
    provenance = Provenance(**(PROVENANCE | {"run_id": run_id}))  # type: ignore[arg-type]
    stage = WriteStage(CONTEXT, sink, provenance, hold(sink, run_id))
    table = stage(to_table(rows, ANSWERED_SCHEMA))
    assert table.schema.equals(SUMMARY_SCHEMA)
    return table.to_pylist()


def share(path: str, *image_ids: str, **codes: int) -> dict[str, Any]:
    """Of one shard in one part, as the summary tells it."""
    shard = image_ids[0].partition("#")[0]
    sums = {"rows": len(image_ids), "digest": digest(image_ids), "codes": json.dumps(codes)}
    names = {"ledger_id": shard, "name": shard, "path": path}
    return dict.fromkeys(SUMMARY_SCHEMA.names) | names | sums


def names(sink: Sink, kind: str) -> list[str]:
    return [Path(path).name for path in sink.parts(kind)]


def test_captions_have_the_promised_columns_in_order_with_their_provenance(sink: Sink) -> None:
    write(sink, ROWS)
    (table,) = sink.read("captions")
    assert table.column_names == CAPTIONS
    assert table.to_pylist() == [
        {name: (answer(i) | PROVENANCE)[name] for name in CAPTIONS} for i in ("a#0", "b#0")
    ]
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    assert {name: metadata[name] for name in PROVENANCE} == PROVENANCE


@pytest.mark.parametrize("kind", ["captions", "quarantine"])
def test_a_part_says_which_rows_of_which_shards_it_holds(sink: Sink, kind: str) -> None:
    summary = write(sink, ROWS)
    (path,) = sink.parts(kind)
    columns = ("ledger_id", "name", "rows", "digest", "codes")
    told = [{name: row[name] for name in columns} for row in summary if row["path"] == path]
    shares = sink.metadata(path)["shares"]
    assert [held | {"codes": json.dumps(held["codes"])} for held in shares] == told != []


def test_bad_rows_go_to_quarantine(sink: Sink) -> None:
    write(sink, ROWS)
    (table,) = sink.read("quarantine")
    assert table.column_names == QUARANTINE_SCHEMA.names
    asked = {"prompt_name": None, "prompt": None}
    expected = failure("a#1") | asked | {"fingerprint": "f" * 16, "run_id": "run-1"}
    assert table.to_pylist() == [{name: expected[name] for name in QUARANTINE_SCHEMA.names}]


def test_statistics_are_stored_once_with_this_stages_own(sink: Sink) -> None:
    write(sink, ROWS)
    (table,) = sink.read("stats")
    assert table["stage"].to_pylist() == ["read", "select", "write", "generate", "read"]
    (own,) = [row for row in table.to_pylist() if row["stage"] == "write"]
    assert (own["run_id"], own["num_images"], own["errors"]) == ("run-1", 3, 0)


def test_the_summary_adds_up(sink: Sink) -> None:
    summary = write(sink, ROWS)
    (captions,), (quarantine,) = sink.parts("captions"), sink.parts("quarantine")
    assert summary == [
        share(quarantine, "a#1", image_corrupt=1),
        share(captions, "a#0"),
        share(captions, "b#0"),
        dict.fromkeys(SUMMARY_SCHEMA.names) | {"ledger_id": "a", "name": "a"} | vars(end(2)),
    ]


def test_the_same_rows_have_the_same_name_and_replace_themselves(sink: Sink) -> None:
    write(sink, ROWS)
    first = names(sink, "captions")
    assert first == names(sink, "quarantine") == names(sink, "stats")
    write(sink, ROWS)
    write(sink, [ROWS[2], ROWS[0], ROWS[1], ROWS[3]])  # as Ray may order them the second time
    assert names(sink, "captions") == first
    assert sum(table.num_rows for table in sink.read("captions")) == 2


def test_other_rows_and_other_runs_have_other_names(sink: Sink) -> None:
    write(sink, ROWS)
    write(sink, ROWS[:2])
    write(sink, ROWS, run_id="run-2")
    assert len(names(sink, "captions")) == 3


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [(ROWS[:1], {"captions", "stats"}), (ROWS[1:2], {"quarantine", "stats"}), ([], set())],
)
def test_kinds_without_rows_have_no_part(
    sink: Sink, rows: list[dict[str, Any]], kinds: set[str]
) -> None:
    write(sink, rows)
    assert {k for k in ("captions", "quarantine", "stats") if sink.parts(k)} == kinds


def test_parts_of_markers_alone_do_not_replace_each_other(sink: Sink) -> None:
    """Two buckets of one folder end with the same number of rows."""
    for bucket in ("0/16", "1/16"):
        stats = json.dumps({"stage": "read", "batch_id": bucket})
        (told,) = write(sink, [marker("pics", 64, stats, bucket=bucket)])
        names = {"ledger_id": f"pics[{bucket}]", "name": "pics"}
        assert told == dict.fromkeys(SUMMARY_SCHEMA.names) | names | vars(end(64))
    found = [row for table in sink.read("stats") for row in table.to_pylist()]
    assert sorted(r["batch_id"] for r in found if r["stage"] == "read") == ["0/16", "1/16"]


def test_an_empty_text_is_a_caption(sink: Sink) -> None:
    write(sink, [answer("a#0", text="")])
    assert [table["text"].to_pylist() for table in sink.read("captions")] == [[""]]


def test_a_run_that_lost_the_output_writes_nothing(sink: Sink) -> None:
    stage = WriteStage(CONTEXT, sink, Provenance(**PROVENANCE), hold(sink, "run-1"))  # type: ignore[arg-type]
    hold(sink, "run-2")
    with pytest.raises(StorageError, match="another run has taken over the output"):
        stage(to_table(ROWS, ANSWERED_SCHEMA))
    assert [path for kind in KINDS for path in sink.parts(kind)] == []


def test_a_run_that_loses_the_output_while_it_writes_takes_its_part_back(sink: Sink) -> None:
    write(sink, [answer("b#7")])
    before = {path for kind in KINDS for path in sink.parts(kind)}
    losing = Losing(url=sink.url)
    stage = WriteStage(CONTEXT, losing, Provenance(**PROVENANCE), hold(losing, "run-1"))  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="another run has taken over the output"):
        stage(to_table(ROWS, ANSWERED_SCHEMA))
    assert {path for kind in KINDS for path in sink.parts(kind)} == before


class Losing(Sink):
    """Another run takes the output as soon as a part is stored."""

    def write(self, path: str, table: pa.Table, metadata: Mapping[str, Any]) -> None:
        super().write(path, table, metadata)
        hold(self, "run-2")


def test_columns_that_the_job_adds_are_stored_beside_both_kinds_of_rows(sink: Sink) -> None:
    extras = ExtraColumns(
        carried=pa.schema({"likes": pa.int16()}), parsed=pa.schema({"colour": pa.string()})
    )
    rows = [
        answer("a#0", carried={"likes": 3}, parsed={"colour": "red"}),
        failure("a#1") | {"carried": {"likes": 4}},
        answer("a#2"),
    ]
    provenance = Provenance(**PROVENANCE)  # type: ignore[arg-type]
    context = dataclasses.replace(CONTEXT, extras=extras)
    stage = WriteStage(context, sink, provenance, hold(sink, "run-1"))
    stage(to_table(rows, extras.on_the_way(ANSWERED_SCHEMA, CARRIED, PARSED)))
    (good,), (bad,) = sink.read("captions"), sink.read("quarantine")
    assert good.column_names == [*CAPTIONS, "likes", "colour"]
    assert good.select(["likes", "colour"]).to_pylist() == [
        {"likes": 3, "colour": "red"},
        {"likes": None, "colour": None},
    ]
    assert (bad["likes"].type, bad["likes"].to_pylist()) == (pa.int16(), [4])
    assert bad.column_names == [*QUARANTINE_SCHEMA.names, "likes"]
