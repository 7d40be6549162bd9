"""One row an image, where prompts have names."""

from __future__ import annotations

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.export.formats.base import Item, Piece
from pipeline.export.formats.hugging_face import HuggingFaceDataset
from pipeline.export.formats.row_values import rows_of
from pipeline.export.formats.tar_samples import TarSamples
from pipeline.export.wide import Wide, columns_of_prompts, names_of_prompts
from pipeline.rows.errors import ConfigError
from pipeline.rows.schemas import CAPTIONS_SCHEMA
from tests.support.exports import png

STORED = CAPTIONS_SCHEMA.append(pa.field("at", pa.timestamp("ns")))
WIDE = Wide(STORED, ["long", "short"])


def item(*names: str) -> Item:
    rows = rows_of(
        pa.Table.from_pylist(
            [
                {"image_id": f"s#0#{name}", "prompt_name": name, "text": f"a {name} one",
                 "prompt": name, "key": "0", "at": 2}
                for name in names
            ],
            schema=STORED,
        )
    )  # fmt: skip
    return Item(name="s/0", rows=tuple(rows), image=png(1), wide=WIDE.row(rows))


def test_each_prompt_has_its_columns_and_the_image_its_own() -> None:
    assert [n for n in WIDE.schema.names if n.endswith("_short")][:2] == [
        "prompt_short",
        "text_short",
    ]
    assert {"text", "prompt", "prompt_name"}.isdisjoint(WIDE.schema.names)
    (row,) = item("short").shown
    assert list(row) == WIDE.schema.names
    found = (row["image_id"], row["text_short"], row["text_long"], row["key"])
    assert found == ("s#0", "a short one", None, "0")


def test_forms_show_one_row() -> None:
    piece = Piece(index=0, items=(item("long", "short"), item("long")), schema=WIDE.schema)
    _, data = next(HuggingFaceDataset().files(piece))
    assert isinstance(data, bytes)
    table = pq.read_table(io.BytesIO(data))
    assert table["text_short"].to_pylist() == ["a short one", None]
    assert table["at"].cast(pa.int64()).to_pylist() == [2, 2]
    ((_, tar),) = TarSamples().files(piece)
    assert isinstance(tar, bytes)
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        member = file.extractfile("s/0.json")
        assert member is not None
        fields = json.loads(member.read())
    assert (fields["text_long"], fields["texts"], fields["at"].replace("T", " ")) == (
        "a long one",
        ["a long one"],
        "1970-01-01 00:00:00.000000002",
    )


def test_what_cannot_be_made_wide_is_told() -> None:
    with pytest.raises(ConfigError, match="have no names"):
        Wide(STORED, [])
    with pytest.raises(ConfigError, match="'text_a' is a carried column"):
        Wide(STORED.append(pa.field("text_a", pa.string())), ["a"])
    with pytest.raises(ConfigError, match="'prompt_tokens_x' would be a column of two prompts"):
        Wide(STORED, ["tokens_x", "x"])


def test_a_prompt_without_any_caption_has_its_columns_too() -> None:
    asked = {"prompt": {"short": "One line.", "long": "All."}}
    assert names_of_prompts(asked, {"short"}) == ["long", "short"]
    assert names_of_prompts({"prompt": "One."}, set()) == names_of_prompts({}, set()) == []


def test_whose_caption_it_is_differs_from_prompt_to_prompt() -> None:
    """One may have been asked of the first, and the other not."""
    rows = rows_of(
        pa.Table.from_pylist(
            [
                {"image_id": "s#1#long", "prompt_name": "long", "key": "1"},
                {"image_id": "s#1#short", "prompt_name": "short", "duplicate_of": "s#0#short"},
            ],
            schema=STORED,
        )
    )
    found = WIDE.row(rows)
    assert (found["duplicate_of_long"], found["duplicate_of_short"]) == (None, "s#0#short")
    assert "duplicate_of" not in found


def test_what_texts_were_parsed_into_is_of_the_prompt() -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
    parsed = columns_of_prompts({"generation": {"schema": json.dumps(schema)}})
    stored = STORED.append(pa.field("count", pa.int64()))
    wide = Wide(stored, ["a", "b"], parsed)
    assert {"count_a", "count_b"} < set(wide.schema.names) and "count" not in wide.schema.names
    assert columns_of_prompts({"generation": {"choices": ["x", "y"]}})[-1] == "choice"
    assert columns_of_prompts({}) == columns_of_prompts({"generation": {}}) != parsed
