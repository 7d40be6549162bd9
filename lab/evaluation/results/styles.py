"""How methods are told apart in pictures; of more than a few, the leading ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lab.evaluation.results.measure import AVERAGE
from lab.evaluation.study.runs import DENSE, REFERENCE

__all__ = ["MOST_COLOURS", "Style", "styles_of"]

# Okabe and Ito's colours, told apart with any colour vision; markers tell them apart in print.
_COLOURS: Final = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
    ("#8C6D1F", "*"),
)
MOST_COLOURS: Final = len(_COLOURS)


@dataclass(frozen=True, kw_only=True)
class Style:
    """Of a method's line; `leads` is False of those that stay grey and unnamed behind others."""

    colour: str = "0.82"
    marker: str = ""
    leads: bool = False


def styles_of(results: Mapping[str, Any]) -> dict[str, Style]:
    """By method, but for the dense model, in order of appearance.

    Where there are more than `MOST_COLOURS`, `hired` leads and those whose average over tasks is
    highest, as a mean over their runs; equal ones in order of appearance.
    """
    methods = {fact["label"]: fact["method"] for fact in results["variants"]}
    found: dict[str, list[float]] = {name: [] for name in methods.values() if name != DENSE}
    for entry in results["figures"]:
        if entry["task"] == AVERAGE and methods[entry["label"]] in found:
            found[methods[entry["label"]]].append(entry["value"])
    leading = list(found)
    if len(found) > MOST_COLOURS:
        ranked = sorted(found, key=lambda name: (name != REFERENCE, -float(np.mean(found[name]))))
        leading = [name for name in found if name in ranked[:MOST_COLOURS]]
    chosen = dict(zip(leading, _COLOURS, strict=False))
    return {
        name: Style(colour=chosen[name][0], marker=chosen[name][1], leads=True)
        if name in chosen
        else Style()
        for name in found
    }
