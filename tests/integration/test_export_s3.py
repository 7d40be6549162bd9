"""An export from S3 to S3, over HTTP: killed, run again, read back."""

from __future__ import annotations

import io
import json
import tarfile

import pyarrow.parquet as pq
import pytest

from pipeline.job.commands import export
from pipeline.ledger.identity import Identity
from pipeline.parts.sink import LOCK, Sink
from pipeline.sources import ReadOptions, list_input
from pipeline.storage.store import Store
from tests.support.exports import png
from tests.support.one_run import Run
from tests.support.s3_server import S3Server, s3
from tests.support.source_files import add_member

__all__ = ["s3"]


def captioned(server: S3Server) -> None:
    """A finished output over a tar and two loose images."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(4):
            add_member(tar, f"{i}.png", png(i))
    server.put("s3://exporting/in/day/a.tar", buffer.getvalue())
    for i in (4, 5):
        server.put(f"s3://exporting/in/loose/{i}.png", png(i))
    options = server.storage_options
    listing = list_input(["s3://exporting/in"], storage_options=options)
    run = Run(
        run_id="1",
        shards=listing.shards,
        identity=Identity(fingerprint="f" * 16, fields={}, input_root=listing.root),
        options=ReadOptions(prompt="p", storage_options=options),
    )
    sink = Sink(url="s3://exporting/out", storage_options=options)
    run.play(sink)
    sink.remove(LOCK)


def test_an_export_to_s3_is_killed_and_goes_on(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    captioned(s3)
    options = ["--storage-options", json.dumps(s3.storage_options), "--rows-per-file", "2"]
    put, names = Store.put, []

    def killed(self: Store, name: str, data: bytes) -> None:
        if len(names) == 5:
            raise KeyboardInterrupt
        names.append(name)
        put(self, name, data)

    monkeypatch.setattr(Store, "put", killed)
    argv = ["s3://exporting/out", "--to", "webdataset", *options]
    assert export(argv) == 1
    monkeypatch.setattr(Store, "put", put)
    assert export(argv) == 0
    fs = s3.filesystem()
    tars = sorted(fs.ls("exporting/out/exports/webdataset", detail=False))
    found = [path.rpartition("/")[2] for path in tars if path.endswith(".tar")]
    assert found == [f"captions-0000{i}.tar" for i in range(3)]
    members: dict[str, bytes] = {}
    for path in tars:
        if path.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(fs.cat_file(path))) as tar:
                members |= {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    images = {name: data for name, data in members.items() if name.endswith(".png")}
    assert images == {f"day/a.tar/{i}.png": png(i) for i in range(4)} | {
        f"loose/{i}.png": png(i) for i in (4, 5)
    }
    assert members["loose/5.txt"].decode() == f"1 saw {png(5)!r}\n"
    argv = ["s3://exporting/out", "--to", "hf-dataset", "--into", "s3://exporting/set", *options]
    assert export(argv) == 0
    with fs.open("exporting/set/data/train-00002.parquet") as file:
        rows = pq.read_table(file).to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [png(4), png(5)]
