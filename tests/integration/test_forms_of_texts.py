"""`--schema` through a job: typed columns, resume, export; another form is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from pipeline.job.commands import export
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from tests.integration.job import caption
from tests.support.bad_images import encode, picture

pytestmark = pytest.mark.usefixtures("cluster")

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue", None]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "text": {"type": "string", "maxLength": 4},
        "place": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "above": {"type": "boolean"}},
            "required": ["x", "above"],
        },
    },
    "required": ["colour", "count", "text"],
}


def test_columns_of_a_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").write_bytes(encode(picture(size=(40 + i, 60)), "PNG"))
    file = tmp_path / "form.json"
    file.write_text(json.dumps(SCHEMA))
    inputs, output = [str(tmp_path / "in")], tmp_path / "out"
    asked = ("--schema", str(file), "--max-new-tokens", "80")
    first = caption(inputs, output, *asked, "--limit", "2")
    assert first.exit_code == EXIT_DONE and len(first.captions) == 2
    file.write_text(json.dumps(SCHEMA, indent=1))  # The content counts, not its spaces.
    again = caption(inputs, output, *asked)
    assert again.exit_code == EXIT_DONE
    assert set(again.ends().values()) == {"ok"} and len(again.ends()) == 3
    assert {**again.texts(), **first.texts()} == again.texts()
    for row in again.captions:
        value = json.loads(row["text"])
        assert row["count"] == value["count"] and row["colour"] == value["colour"]
        assert row["json_text"] == value["text"] and row["place"] == value.get("place")
    table = ds.dataset(output / "captions", format="parquet").to_table()
    types = {"colour": pa.string(), "count": pa.int64(), "json_text": pa.string(),
             "place": pa.struct({"x": pa.float64(), "above": pa.bool_()})}  # fmt: skip
    assert {name: table.schema.field(name).type for name in types} == types
    capsys.readouterr()
    assert caption(inputs, output, "--choices", "a,b").exit_code == EXIT_BAD_CONFIG
    assert "generation.choices was None, now ['a', 'b']" in capsys.readouterr().err
    assert export([str(output), "--to", "jsonl", "--where", "count >= 0"]) == EXIT_DONE
    (lines,) = (output / "exports/jsonl").glob("*.jsonl")
    exported = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {row["image_id"]: row["json_text"] for row in exported} == {
        row["image_id"]: row["json_text"] for row in again.captions
    }
