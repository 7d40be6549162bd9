"""Options are checked when made; buckets of one directory are told apart."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

import pipeline.sources
from pipeline.rows.errors import ConfigError
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


def test_ledger_id_tells_buckets_apart_and_stays_when_they_grow() -> None:
    first = Shard(url="/in/a", name="a", format="images", files=("1.jpg",), bucket="0/16")
    second = dataclasses.replace(first, files=("3.jpg",), bucket="1/16")
    grown = dataclasses.replace(first, url="/elsewhere/a", files=("1.jpg", "2.jpg"))
    assert (first.ledger_id, second.ledger_id) == ("a[0/16]", "a[1/16]")
    assert grown.ledger_id == first.ledger_id


def test_ledger_id_of_a_file_is_its_name() -> None:
    assert Shard(url="/in/a.tar", name="a.tar", format="webdataset").ledger_id == "a.tar"


def test_shards_and_options_travel() -> None:
    shard = Shard(url="/in/a.tar", name="a.tar", format="webdataset", max_rows=3)
    options = ReadOptions(prompt="a", storage_options={"endpoint_url": "http://127.0.0.1:1"})
    assert pickle.loads(pickle.dumps((shard, options))) == (shard, options)


def test_public_names_exist() -> None:
    assert all(hasattr(pipeline.sources, name) for name in pipeline.sources.__all__)
