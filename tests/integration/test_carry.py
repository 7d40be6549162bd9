"""Columns of the input beside the captions."""

from __future__ import annotations

import datetime
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.job.commands import export
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import caption
from tests.support.bad_images import encode, picture
from tests.support.source_files import add_member

pytestmark = pytest.mark.usefixtures("cluster")
DAY = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)


def image(index: int) -> bytes:
    return encode(picture(size=(40 + index, 60)), "PNG")


def write_input(folder: Path) -> None:
    """A Parquet file of three rows, the last of which has no image, and a tar of two."""
    folder.mkdir()
    columns = {
        "image": pa.array([image(0), image(1), None], pa.binary()),
        "url": ["http://a/0", None, "http://a/2"],
        "taken": pa.array([DAY] * 3, pa.timestamp("us", tz="UTC")),
        "text": ["old 0", "old 1", "old 2"],
    }
    pq.write_table(pa.table(columns), folder / "a.parquet")
    with tarfile.open(folder / "b.tar", "w") as tar:
        for index in (2, 3):
            add_member(tar, f"{index}.png", image(index))
            fields = {"url": f"http://b/{index}", "text": "old", "likes": index}
            add_member(tar, f"{index}.json", json.dumps(fields).encode())


def test_columns_beside_the_captions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_input(tmp_path / "in")
    inputs, output = [str(tmp_path / "in")], tmp_path / "out"
    more = ("--max-error-rate", "1")
    carry = ("--carry", "url, taken", "--carry", "text as old")
    first = caption(
        [f"{inputs[0]}/a.parquet"], output, *more, *carry, "--limit", "1", "--input-root", inputs[0]
    )
    assert [row["old"] for row in first.captions] == ["old 0"]
    rest = caption(inputs, output, *more, *carry, "--carry", "likes")
    assert rest.exit_code == EXIT_DONE
    found: dict[str, Any] = {
        row["image_id"]: (row["url"], row["taken"], row["old"], row.get("likes"))
        for row in (*rest.captions, *rest.quarantine)
    }
    assert found == {
        "a.parquet#0": ("http://a/0", DAY, "old 0", None),
        "a.parquet#1": (None, DAY, "old 1", None),
        "a.parquet#2": ("http://a/2", DAY, "old 2", None),
        "b.tar#2": ("http://b/2", None, "old", 2),
        "b.tar#3": ("http://b/3", None, "old", 3),
    }
    assert verify([str(output)]) == EXIT_DONE
    assert (
        export([str(output), "--to", "jsonl", "--where", "likes = 3 or old = 'old 0'"]) == EXIT_DONE
    )
    (file,) = (output / "exports/jsonl").glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["url"], row["taken"], row["likes"]) for row in lines] == [
        ("http://a/0", DAY.isoformat(), None),
        ("http://b/3", None, 3),
    ]
    capsys.readouterr()
    assert caption(inputs, tmp_path / "other", "--carry", "text").exit_code == EXIT_BAD_CONFIG
    assert "--carry 'text as my_text'" in capsys.readouterr().err
