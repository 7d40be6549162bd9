"""One pass over captions: how many, how long, with which flags, and some of them as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.report.reading.draw import Draw
from pipeline.report.reading.parts_read import Batch, Parts, Place, rows_of, texts_of

__all__ = ["RANDOM", "Captions", "look_at_captions"]

RANDOM: Final = ""
"""The key of examples drawn from all captions; others are flags."""

_LONGEST: Final = 4096
"""Texts with more tokens are counted together."""
_MOST_NAMES: Final = 40

_MADE_WITH: Final = ("model", "method", "token_budget")
_COLUMNS: Final = (
    *("shard", "flags", "output_tokens", "visual_tokens_dense", "visual_tokens_kept"),
    *("prompt_name", "duplicate_of", *_MADE_WITH),
)


@dataclass
class Captions:
    """What all captions of an output come to.

    Attributes:
        lengths: int64 [4097], captions by output tokens; the last counts longer ones too.
        flags: captions by flag.
        without_flags: captions of versions that told none.
        names: captions by the name of their prompt, where prompts have names.
        made_with: captions by (model, method, budget).
        places: of examples, by flag; `RANDOM` for those of all captions.
    """

    rows: int = 0
    lengths: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(_LONGEST + 1, dtype=np.int64)
    )
    output_tokens: int = 0
    visual_tokens_dense: int = 0
    visual_tokens_kept: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    flagged: int = 0
    without_flags: int = 0
    duplicates: int = 0
    names: Counter[str] = field(default_factory=Counter)
    made_with: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    places: dict[str, list[Place]] = field(default_factory=dict)


def look_at_captions(parts: Parts, *, examples: int, few: int, seed: int) -> Captions:
    """Reads the columns that counting needs, batch by batch.

    Args:
        examples: how many are drawn from all; `few` of each flag.
    """
    found = Captions()
    any_caption: Draw[str] = Draw(examples, seed)
    by_flag: Draw[str] = Draw(few, seed)
    for batch in parts.batches("captions", _COLUMNS):
        _count(found, batch)
        shards = batch.names("shard")
        everything = np.arange(batch.table.num_rows)
        any_caption.offer(RANDOM, shards, batch.path, everything + batch.first)
        for flag, rows in _flagged(found, batch).items():
            by_flag.offer(flag, shards.of(rows), batch.path, rows + batch.first)
    found.places = {flag: by_flag.drawn(flag) for flag in found.flags}
    found.places[RANDOM] = any_caption.drawn(RANDOM)
    return found


def _count(found: Captions, batch: Batch) -> None:
    found.rows += batch.table.num_rows
    tokens = batch.column("output_tokens", pa.int64()).drop_null().to_numpy()
    lengths = np.clip(tokens, 0, _LONGEST)
    found.lengths += np.bincount(lengths, minlength=_LONGEST + 1)
    found.output_tokens += int(tokens.sum())
    found.visual_tokens_dense += _sum(batch, "visual_tokens_dense")
    found.visual_tokens_kept += _sum(batch, "visual_tokens_kept")
    duplicate = batch.column("duplicate_of", pa.string())
    found.duplicates += len(duplicate) - duplicate.null_count
    names = batch.names("prompt_name")
    _tally(found.names, zip(names.texts, np.bincount(names.codes).tolist(), strict=True))
    made = batch.table.select([n for n in _MADE_WITH if n in batch.table.column_names])
    groups = rows_of(made.group_by(made.column_names).aggregate([([], "count_all")]))
    _tally(found.made_with, ((tuple(map(g.get, _MADE_WITH)), g["count_all"]) for g in groups))


def _sum(batch: Batch, name: str) -> int:
    return int(pc.sum(batch.column(name, pa.int64())).as_py() or 0)


def _tally(counter: Counter[Any], found: Iterable[tuple[Any, int]]) -> None:
    """Names are few; should there be very many, new ones are counted no more."""
    for value, times in found:
        if value in counter or len(counter) < _MOST_NAMES:
            counter[value] += times


def _flagged(found: Captions, batch: Batch) -> dict[str, npt.NDArray[np.int64]]:
    """Positions in the batch of the rows with each flag."""
    lists = batch.column("flags", pa.list_(pa.string())).combine_chunks()
    found.without_flags += lists.null_count
    parents = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    flags = np.array(texts_of(pa.chunked_array([pc.list_flatten(lists)])), dtype=object)
    found.flagged += len(np.unique(parents))
    rows = {flag: parents[flags == flag] for flag in sorted({str(f) for f in flags})}
    new = [flag for flag in rows if flag in found.flags or len(found.flags) < _MOST_NAMES]
    for flag in new:
        found.flags[flag] += len(rows[flag])
    return {flag: rows[flag] for flag in new}
