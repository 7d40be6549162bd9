"""How long a plan takes over an output of a billion rows: `python -m tests.chaos.synthetic_ledger`.

The input is as many empty tars as there are shards; the ledger is written as a run would have, with
no parts behind it: a plan must not look at parts of finished runs. Three shards are new, and a run
that was killed has left some parts that the ledger does not know. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pipeline.job.plan import Plan, make_plan
from pipeline.ledger.identity import load_identity
from pipeline.ledger.lease import Lease
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import ShardRecord, to_table
from pipeline.ledger.snapshots import LedgerLog
from pipeline.ledger.writer import LedgerWriter, ResumeOptions
from pipeline.parts.entries import SHARES_KEY, PartEntry, Share
from pipeline.parts.sink import Sink
from pipeline.rows.idsum import IdSum
from pipeline.settings.config import InputConfig, JobConfig, OutputConfig
from pipeline.sources import list_input
from tests.support.resolved import resolved

PARTS_PER_SHARD = 20
NEW_SHARDS = 3
KILLED, FINISHED = "20260101T000001-killed", "20260101T000000-ended0"
STEP = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000_000)
    parser.add_argument("--unknown-parts", type=int, default=1000)
    parser.add_argument("--measure", metavar="FOLDER", help="of an earlier run; for internal use")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_measured(_config(arguments.measure)), indent=2))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_input(Path(folder) / "in", arguments.shards)
        config = _config(folder)
        _write_ledger(config, arguments.rows // arguments.shards)
        _write_unknown_parts(config, arguments.unknown_parts)
        # In a process of its own: making up the ledger takes more memory than reading it.
        command = [sys.executable, "-m", __spec__.name, "--measure", folder]
        sys.exit(subprocess.run(command, check=False).returncode)


def _config(folder: str) -> JobConfig:
    return JobConfig(
        input=InputConfig(input=[f"{folder}/in"]), output=OutputConfig(output=f"{folder}/out")
    )


def _write_input(folder: Path, num_shards: int) -> None:
    for index in range(num_shards):
        path = folder / f"{index // 1000:03}" / f"{index:06}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _write_ledger(config: JobConfig, rows_per_shard: int) -> None:
    """As a run leaves it, but for the last shards, which it has not seen."""
    sink = Sink(url=config.output.output)
    shards = list_input(config.input.input, storage_options={}).shards[:-NEW_SHARDS]
    rows = [rows_per_shard // PARTS_PER_SHARD] * PARTS_PER_SHARD
    tables: list[pa.Table] = []
    for start in range(0, len(shards), STEP):
        records = [
            ShardRecord(
                ledger_id=shard.ledger_id,
                name=shard.name,
                signature=shard.signature,
                complete=True,
                shares=tuple(_shares(index, rows)),
            )
            for index, shard in enumerate(shards[start : start + STEP], start)
        ]
        tables.append(to_table(records))
    ledger = Ledger(base=pa.concat_tables(tables).combine_chunks(), open_runs=(KILLED,))
    writer = LedgerLog(store=sink, ledger=ledger, run_id=FINISHED, may_write=lambda: None)
    writer.snapshot()
    make_plan(resolved(config)).identity.save(sink)


def _shares(index: int, rows: list[int]) -> Iterator[Share]:
    for part, count in enumerate(rows):
        digest = IdSum.of([f"{index}.{part}"]).digest
        path = f"captions/part-{FINISHED}-{digest & (2**64 - 1):016x}.parquet"
        yield Share(path=path, ids=IdSum(count, digest))


def _write_unknown_parts(config: JobConfig, count: int) -> None:
    """Parts of a killed run that had begun with the new shards."""
    sink = Sink(url=config.output.output)
    identity = load_identity(sink)
    assert identity is not None, "the ledger is written first"
    new = list_input(config.input.input, storage_options={}).shards[-NEW_SHARDS:]
    for index in range(count):
        name = new[index % NEW_SHARDS].name
        keys = [f"{index}-{row}" for row in range(8)]
        ids = [f"{name}#{key}" for key in keys]
        path = f"captions/part-{KILLED}-{index:016x}.parquet"
        entry = PartEntry(ledger_id=name, name=name, share=Share(path=path, ids=IdSum.of(ids)))
        table = pa.table({"image_id": ids, "shard": [name] * len(ids), "key": keys})
        sink.write(
            path, table, {SHARES_KEY: [entry.to_json()], "fingerprint": identity.fingerprint}
        )


def _measured(config: JobConfig) -> dict[str, float]:
    sink = Sink(url=config.output.output)
    started = time.monotonic()
    plan: Plan = make_plan(resolved(config))
    planned = time.monotonic()
    with Lease(store=sink, run_id="20260102T000000-measur", log=sys.stderr) as lease:
        ledger_writer = LedgerWriter(sink, lease.fence, plan.identity)
        assignments = ledger_writer.begin(plan.shards, ResumeOptions())
        begun = time.monotonic()
        rows = ledger_writer.ledger.totals().rows
        adopted = sum(len(assignment.parts) for assignment in assignments)
    assert len(assignments) == NEW_SHARDS, f"{len(assignments)} shards would be opened"
    return {
        "shards": len(plan.shards),
        "rows": rows,
        "parts_adopted": adopted,
        "plan_sec": round(planned - started, 2),
        "begin_sec": round(begun - planned, 2),
        "peak_mib": round(_peak_mib()),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
