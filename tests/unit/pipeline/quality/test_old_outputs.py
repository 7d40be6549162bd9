"""Parts of versions before there were flags and notes are read, verified, exported and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.job.commands import export
from pipeline.parts.sink import LOCK, Sink
from pipeline.sources import list_input
from pipeline.verify.command import main as verify
from tests.support.exports import captioned
from tests.support.one_run import IDENTITY, Run


def test_an_output_without_the_column(tmp_path: Path) -> None:
    corpus = captioned(tmp_path)
    for path in (corpus.output / "captions").glob("*.parquet"):
        table = pq.read_table(path)
        assert {"flags", "image_notes"} <= set(table.column_names)
        pq.write_table(table.drop_columns(["flags", "image_notes"]), path)
    assert verify([str(corpus.output)]) == 0
    (corpus.root / "photos" / "new.png").write_bytes((corpus.root / "photos/d.e.png").read_bytes())
    sink = Sink(url=str(corpus.output))
    listing = list_input([str(corpus.root)], storage_options={}, input_root=str(corpus.root))
    identity = replace(IDENTITY, fields={}, input_root=listing.root)
    Run(run_id="2", shards=listing.shards, identity=identity).play(sink)
    sink.remove(LOCK)
    assert verify([str(corpus.output), "--repair"]) == 0
    assert export([str(corpus.output), "--to", "parquet", "--into", str(tmp_path / "x")]) == 0
    found = pq.read_table(tmp_path / "x").to_pylist()
    assert len(found) == 12
    assert {row["run_id"] for row in found} == {"1", "2"}
    for row in found:
        old = row["run_id"] == "1"
        assert row["flags"] == (None if old else [])
        assert (row["image_notes"] is None) or not old
