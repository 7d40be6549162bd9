"""Patterns of columns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.rows.errors import ConfigError, InputError
from pipeline.sources.carried.request import Pattern, choose_carried, parse_carry

THERE = {
    name: pa.string()
    for name in ("image", "url", "text", "user_id", "post_id", "a[0]", "as", "image_alt")
} | {"image": pa.binary()}


def chosen(*texts: str) -> dict[str, str]:
    """Source by name."""
    return {c.name: c.source for c in choose_carried(parse_carry(texts), THERE, "image")}


def test_patterns_are_read() -> None:
    assert parse_carry(["url, alt", "text as alt_text,", "as as x"]) == (
        Pattern(column="url"),
        Pattern(column="alt"),
        Pattern(column="text", name="alt_text"),
        Pattern(column="as", name="x"),
    )


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["url"], {"url": "url"}),
        (["*_id,url"], {"user_id": "user_id", "post_id": "post_id", "url": "url"}),
        (["image*"], {"image_alt": "image_alt"}),
        (["a[0]"], {"a[0]": "a[0]"}),
        (["url", "url"], {"url": "url"}),
        (["text as alt", "t*"], {"alt": "text"}),
        (["url as a, url as b"], {"a": "url", "b": "url"}),
    ],
)
def test_columns_are_chosen_in_the_order_of_the_patterns(
    texts: list[str], found: dict[str, str]
) -> None:
    assert list(chosen(*texts).items()) == list(found.items())


def test_a_renamed_column_is_not_taken_again_by_a_wildcard() -> None:
    assert chosen("text as alt_text", "*")["alt_text"] == "text"
    assert "text" not in chosen("text as alt_text", "*")


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("urls", InputError, "carry: 'urls' matches no column; the shards looked at have image, u"),
        ("x_*", InputError, "carry: 'x_\\*' matches no column"),
        ("image", ConfigError, "carry: 'image' has the images"),
        ("*_id as id", ConfigError, "cannot have one name"),
        ("url as x, text as x", ConfigError, "'url' and 'text' would both be 'x'; carry"),
        ("url as X, text as x", ConfigError, "'url' and 'text' would both be 'x', upper or"),
    ],
)
def test_what_cannot_be_carried_is_told(text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        chosen(text)


def test_paths_of_images_are_texts_like_others() -> None:
    there = THERE | {"image": pa.large_string()}
    found = choose_carried(parse_carry(["image as path, image*"]), there, "image")
    assert [(c.source, c.name) for c in found] == [("image", "path"), ("image_alt", "image_alt")]


def test_a_type_that_parquet_has_not_is_told() -> None:
    kind = pa.union([pa.field("a", pa.int8()), pa.field("b", pa.string())], "sparse")
    with pytest.raises(ConfigError, match="carry: 'u' has type"):
        choose_carried(parse_carry(["u"]), {"u": kind}, "image")
