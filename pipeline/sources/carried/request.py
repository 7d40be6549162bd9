"""`--carry 'url,alt,*_id,text as alt_text'`: patterns, and the columns that they stand for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.rows.errors import ConfigError, InputError
from pipeline.rows.fitting import is_text, plain_type

__all__ = ["CarriedColumn", "Pattern", "choose_carried", "listed", "parse_carry"]

_RENAMED: Final = re.compile(r"(?P<column>.*\S)\s+as\s+(?P<name>\S+)", re.IGNORECASE)
_WILD: Final = re.compile(r"[*?\[]")
_SHOWN: Final = 40


@dataclass(frozen=True, kw_only=True)
class CarriedColumn:
    """A column of the input and what it is called in the results.

    Attributes:
        kind: that all values are brought to; those which have no such form are null.
    """

    source: str
    name: str
    kind: pa.DataType


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Which columns are meant: a name, or several by `*`, `?` and `[...]`.

    Attributes:
        name: that the one column gets; None keeps names as they are.
    """

    column: str
    name: str | None = None

    @property
    def is_wild(self) -> bool:
        return _WILD.search(self.column) is not None

    def matches(self, column: str) -> bool:
        return column == self.column or fnmatchcase(column, self.column)


def parse_carry(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns of texts such as 'url, *_id, text as alt_text'.

    Raises:
        ConfigError: if a pattern of several columns has one name.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    return tuple(_pattern(word) for word in words if word)


def _pattern(word: str) -> Pattern:
    found = _RENAMED.fullmatch(word)
    if found is None:
        return Pattern(column=word)
    pattern = Pattern(column=found["column"], name=found["name"])
    if pattern.is_wild:
        raise ConfigError(f"carry: {word!r}: a pattern of several columns cannot have one name")
    return pattern


def choose_carried(
    patterns: Sequence[Pattern], there: Mapping[str, pa.DataType], image_column: str
) -> tuple[CarriedColumn, ...]:
    """The columns that `patterns` stand for, in their order, each once under each name.

    What is named outright is not taken again by a wildcard, and images by none; paths and URLs of
    images are texts like others.

    Args:
        there: the columns of the input, and their types.

    Raises:
        InputError: if a pattern matches nothing; it lists what there is.
        ConfigError: if two columns would have one name, or the images are named.
    """
    has_texts = image_column in there and is_text(plain_type(there[image_column]))
    outright = {p.column for p in patterns if p.column in there}
    outright |= set() if has_texts else {image_column}
    chosen: dict[str, CarriedColumn] = {}
    for pattern in patterns:
        if pattern.column == image_column and not has_texts:
            raise ConfigError(f"carry: {image_column!r} has the images; leave it out")
        matched = [c for c in there if pattern.matches(c)]
        if not matched:
            raise InputError(f"carry: {pattern.column!r} matches no column; {listed(there)}")
        for column in matched:
            if column != pattern.column and column in outright:
                continue
            _enter(
                chosen,
                CarriedColumn(source=column, name=pattern.name or column, kind=there[column]),
            )
    return tuple(chosen.values())


def _enter(chosen: dict[str, CarriedColumn], column: CarriedColumn) -> None:
    if not _can_be_stored(column.kind):
        raise ConfigError(f"carry: {column.source!r} has type {column.kind}, which Parquet has not")
    # DuckDB takes no notice of case: a condition on one would be about the other.
    other = chosen.setdefault(column.name.casefold(), column)
    if other.source != column.source:
        same = other.name == column.name
        what = f"be {column.name!r}" if same else f"be {column.name!r}, upper or lower case"
        raise ConfigError(
            f"carry: {other.source!r} and {column.source!r} would both {what}; "
            f"carry one under another name: --carry '{column.source} as another'"
        )


def _can_be_stored(kind: pa.DataType) -> bool:
    try:
        pq.write_table(pa.schema([pa.field("x", kind)]).empty_table(), io.BytesIO())
    except pa.ArrowException:
        return False
    return True


def listed(there: Iterable[str]) -> str:
    """The columns of the input, for an error."""
    names = list(there)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"the shards looked at have {', '.join(names[:_SHOWN]) or 'none'}{more}"
