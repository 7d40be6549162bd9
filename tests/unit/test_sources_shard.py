"""Options are checked when made; chunks of one directory are told apart."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

import pipeline.sources
from pipeline.errors import ConfigError
from pipeline.sources import ReadOptions, Shard


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "exactly one of prompt and prompt_column"),
        ({"prompt": "a", "prompt_column": "b"}, "exactly one of prompt and prompt_column"),
        ({"prompt": "  "}, "prompt is blank"),
        ({"prompt": "a", "max_image_bytes": 0}, "max_image_bytes is 0, allowed: 1 or more"),
        ({"prompt": "a", "batch_rows": 0}, "batch_rows is 0"),
        ({"prompt": "a", "batch_bytes": -1}, "batch_bytes is -1"),
    ],
)
def test_options_are_checked(options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ReadOptions(**options)  # type: ignore[arg-type]


def test_ledger_id_tells_chunks_apart_and_changes_with_their_files() -> None:
    first = Shard(url="/in/a", name="a", format="images", files=("1.jpg", "2.jpg"))
    second = dataclasses.replace(first, files=("3.jpg",))
    grown = dataclasses.replace(first, files=("1.jpg", "2.jpg", "2b.jpg"))
    assert len({first.ledger_id, second.ledger_id, grown.ledger_id}) == 3
    assert first.ledger_id.startswith("a[")
    assert first.ledger_id == dataclasses.replace(first, url="/elsewhere/a").ledger_id


def test_ledger_id_of_a_file_is_its_name() -> None:
    assert Shard(url="/in/a.tar", name="a.tar", format="webdataset").ledger_id == "a.tar"


def test_shards_and_options_travel() -> None:
    shard = Shard(url="/in/a.tar", name="a.tar", format="webdataset", max_rows=3)
    options = ReadOptions(prompt="a", storage_options={"endpoint_url": "http://127.0.0.1:1"})
    assert pickle.loads(pickle.dumps((shard, options))) == (shard, options)


def test_public_names_exist() -> None:
    assert all(hasattr(pipeline.sources, name) for name in pipeline.sources.__all__)
