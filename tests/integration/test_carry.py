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


def test_columns_beside_the_captions_of_two_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of the input first, with fewer columns; then all of it."""
    write_input(tmp_path / "in")
    inputs, output = [str(tmp_path / "in")], tmp_path / "out"
    more = ("--max-error-rate", "1", "--prompt", "short=One line.")
    more += ("--prompt", "long=It was called {{ text }}, at {{ url }}. Describe it.")
    carry = ("--carry", "url, taken", "--carry", "text as old")
    part = (*more, *carry, "--limit", "1", "--input-root", inputs[0])
    first = caption([f"{inputs[0]}/a.parquet"], output, *part)
    assert [row["old"] for row in first.captions] == ["old 0"] * 2
    rest = caption(inputs, output, *more, *carry, "--carry", "likes")
    assert rest.exit_code == EXIT_DONE
    assert rest.report["images"] == 3  # One was done, and one row has none.
    found: dict[str, Any] = {
        row["image_id"].removesuffix("#short"): (
            row["url"],
            row["taken"],
            row["old"],
            row.get("likes"),
        )
        for row in (*rest.captions, *rest.quarantine)
        if row["prompt_name"] == "short"
    }
    assert found == {
        "a.parquet#0": ("http://a/0", DAY, "old 0", None),
        "a.parquet#1": (None, DAY, "old 1", None),
        "a.parquet#2": ("http://a/2", DAY, "old 2", None),
        "b.tar#2": ("http://b/2", None, "old", 2),
        "b.tar#3": ("http://b/3", None, "old", 3),
    }
    prompts = {row["image_id"]: row["prompt"] for row in rest.captions}
    assert prompts.keys() == {f"{i}#short" for i in found if i != "a.parquet#2"} | {
        f"{i}#long" for i in ("a.parquet#0", "b.tar#2", "b.tar#3")
    }
    assert prompts["b.tar#2#long"] == "It was called old, at http://b/2. Describe it."
    codes = {row["image_id"]: row["error_code"] for row in rest.quarantine}
    assert codes == {
        "a.parquet#1#long": "prompt_invalid",
        **{f"a.parquet#2#{name}": "image_missing" for name in ("short", "long")},
    }
    assert verify([str(output)]) == EXIT_DONE
    _check_exports(output)
    capsys.readouterr()
    assert caption(inputs, tmp_path / "other", "--carry", "text").exit_code == EXIT_BAD_CONFIG
    assert "--carry 'text as my_text'" in capsys.readouterr().err
    assert caption(inputs, output, *more[:2], *more[4:]).exit_code == EXIT_BAD_CONFIG
    assert "prompt.short was 'One line.', now None" in capsys.readouterr().err
    assert caption(inputs, tmp_path / "other", "--prompt", "{{ tex }}").exit_code == EXIT_BAD_CONFIG
    assert "prompt: no column 'tex'; the shards looked at have" in capsys.readouterr().err


def _check_exports(output: Path) -> None:
    where = ("--where", "likes = 3 or old = 'old 0'")
    assert export([str(output), "--to", "jsonl", *where]) == EXIT_DONE
    rows = [(row["image_id"], row["url"], row["taken"], row["likes"]) for row in jsonl(output)]
    assert rows == [
        *((f"a.parquet#0#{n}", "http://a/0", DAY.isoformat(), None) for n in ("long", "short")),
        *((f"b.tar#3#{n}", "http://b/3", None, 3) for n in ("long", "short")),
    ]
    wide = ("--prompts-as", "columns", "--into", str(output / "wide"))
    assert export([str(output), "--to", "parquet", *wide]) == EXIT_DONE
    table = pq.read_table(output / "wide")
    assert table["image_id"].to_pylist() == ["a.parquet#0", "a.parquet#1", "b.tar#2", "b.tar#3"]
    assert table["text_short"].null_count == 0
    assert table["text_long"].is_null().to_pylist() == [False, True, False, False]
    assert table.schema.field("taken").type == pa.timestamp("us", tz="UTC")


def jsonl(output: Path) -> list[dict[str, Any]]:
    (file,) = (output / "exports/jsonl").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]
