"""The boards of an example: its partitions, once for every method, for the script to draw on.

Every picture is in the page once, in `definitions`; boards refer to it. The unit of all drawings is
a patch, so that nothing depends on a model's partition size.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from lab.evaluation.page.encoded import heat_uri, hex_bits, partition_uri
from lab.evaluation.page.examples import Example, budget_text
from lab.evaluation.page.rows import levels_of
from lab.evaluation.page.trace import Bools, ImageTrace, Selection

__all__ = ["board", "definitions", "masks"]


def definitions(trace: ImageTrace, number: int) -> str:
    """The pictures of an example: partitions and attention at both layers."""
    parts = zip(trace.shown, trace.initial, trace.final, strict=True)
    return "".join(
        _image(f"e{number}p{p}", trace.side, partition_uri(pixels))
        + _image(f"e{number}p{p}i", trace.side, heat_uri(initial, trace.side))
        + _image(f"e{number}p{p}f", trace.side, heat_uri(final, trace.side))
        for p, (pixels, initial, final) in enumerate(parts)
    )


def _image(name: str, side: int, uri: str) -> str:
    return f'<image id="{name}" width="{side}" height="{side}" href="{uri}"/>'


def board(example: Example, number: int, method: str) -> str:
    """One method's view of an example, without masks; empty for a method that was not run."""
    trace = example.trace
    full, *subs = (_partition(trace, number, p) for p in range(len(trace.shown)))
    return (
        f'<section class="board" data-method="{escape(method)}">'
        f'<h4>{escape(method)} <span class="total"></span></h4>'
        f'<div class="partitions" style="--cols:{trace.grid[1]}">'
        f'<div class="full">{full}</div><div class="grid">{"".join(subs)}</div></div>'
        f'<p class="note"></p><p class="answer"></p></section>'
    )


def _partition(trace: ImageTrace, number: int, p: int) -> str:
    """The script adds what is dropped, its outline and the count to the empty elements."""
    name = partition_name(p, trace.grid, whole=not trace.has_full_image)
    score = f"score {trace.content_scores[p - 1]:.2f}" if p else "&nbsp;"
    use, side = f"#e{number}p{p}", trace.side
    short = str(p) if p else name
    return (
        f'<figure data-p="{p}"><figcaption><span class="name">{short}</span>'
        f'<span class="count"></span><span class="score">{score}</span></figcaption>'
        f'<svg viewBox="0 0 {side} {side}" role="img" data-name="{name}" aria-label="{name}">'
        f'<use href="{use}"/><use class="heat initial" href="{use}i"/>'
        f'<use class="heat final" href="{use}f"/>'
        f'<path class="padding" d="{_cells(~trace.valid[p], side)}"/>'
        f'<path class="dropped"/><g class="rows"></g><path class="edge"/></svg></figure>'
    )


def partition_name(p: int, grid: tuple[int, int], *, whole: bool = False) -> str:
    """In words: "sub-image 3 of 4 (row 2, column 1)".

    Args:
        whole: whether the image is encoded as a whole, in cells and without a full-image.
    """
    if p == 0:
        return "no full-image" if whole else "full-image"
    row, col = divmod(p - 1, grid[1])
    kind, where = "cell" if whole else "sub-image", f"(row {row + 1}, column {col + 1})"
    return f"{kind} {p} of {grid[0] * grid[1]} {where}"


def _cells(mask: Bools, side: int) -> str:
    """An SVG path of one square for each patch of `mask`."""
    return "".join(f"M{n % side} {n // side}h1v1h-1z" for n in np.flatnonzero(mask))


def masks(example: Example) -> dict[str, object]:
    """What the script draws: patches that are valid, and by run those kept, in hexadecimal; of
    merged rows also which patches each sums, and how much of each."""
    kept: dict[str, dict[str, object]] = {}
    for (method, budget), selection in example.runs.items():
        kept.setdefault(method, {})[budget_text(budget)] = {
            "keep": [hex_bits(keep) for keep in selection.keep],
            "budgets": selection.budgets.tolist(),
            "dense": selection.num_dense,
            **_beside(selection),
        }
    return {
        "side": example.trace.side,
        "valid": [hex_bits(valid) for valid in example.trace.valid],
        "runs": kept,
    }


def _beside(selection: Selection) -> dict[str, object]:
    """Merged rows, and what is not drawn, where there is any."""
    found: dict[str, object] = {}
    if selection.weights is not None:
        found["rows"] = levels_of(selection.weights)
    if selection.note:
        found["note"] = selection.note
    return found


def methods_of(examples: Sequence[Example]) -> list[str]:
    """In the order in which they first appear, the dense model last."""
    found = dict.fromkeys(method for example in examples for method, _ in example.runs)
    return [method for method in found if method != "dense"] + ["dense"] * ("dense" in found)


def budgets_of(examples: Sequence[Example]) -> list[float]:
    """Budgets on offer, smallest first; that of the dense model is none of them."""
    found = {budget for one in examples for method, budget in one.runs if method != "dense"}
    return sorted(found, key=lambda budget: (budget > 1, budget)) or [1.0]
