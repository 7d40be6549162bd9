"""One pass over quarantine: rows by stage and code, and some of each as examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pipeline.report.reading.draw import Draw
from pipeline.report.reading.parts_read import Parts, Place

__all__ = ["Quarantine", "look_at_quarantine"]

_COLUMNS: Final = ("shard", "error_code", "error_stage")


@dataclass
class Quarantine:
    """What all quarantined rows of an output come to.

    Attributes:
        codes, stages: rows by error code, and by the stage that told it.
        places: of examples, by code.
    """

    rows: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    stages: dict[str, Counter[str]] = field(default_factory=dict)
    places: dict[str, list[Place]] = field(default_factory=dict)


def look_at_quarantine(parts: Parts, *, few: int, seed: int) -> Quarantine:
    """Reads codes and shards, batch by batch; draws `few` rows of each code."""
    found = Quarantine()
    draw: Draw[str] = Draw(few, seed)
    for batch in parts.batches("quarantine", _COLUMNS):
        found.rows += batch.table.num_rows
        shards, codes, stages = map(batch.names, _COLUMNS)
        for index, code in enumerate(codes.texts):
            rows = np.flatnonzero(codes.codes == index)
            found.codes[code] += len(rows)
            times = np.bincount(stages.codes[rows], minlength=len(stages.texts)).tolist()
            found.stages.setdefault(code, Counter()).update(
                dict(zip(stages.texts, times, strict=True))
            )
            draw.offer(code, shards.of(rows), batch.path, rows + batch.first)
    found.places = {code: draw.drawn(code) for code in found.codes}
    return found
