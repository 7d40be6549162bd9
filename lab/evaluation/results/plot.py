"""Accuracy against budget or alpha: a panel per task, a line per method, dense across."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lab.evaluation.results.measure import AVERAGE
from lab.evaluation.study.runs import DENSE

__all__ = ["Axis", "plot"]

Axis = Literal["budget", "alpha"]

# Okabe and Ito's colours, told apart with any colour vision; markers tell them apart in print.
_STYLES: Final = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
)
_MOST_COLUMNS: Final = 3
_AXIS_LABELS: Final[Mapping[Axis, str]] = {
    "budget": "token budget",
    "alpha": "alpha, the share of the budget for the full-image",
}
_Entry = Mapping[str, Any]
_Line = list[tuple[float, _Entry]]


def plot(results: Mapping[str, Any], kind: str, axis: Axis = "budget") -> bytes:
    """The picture as a file, `kind` "svg" or "png"; the same bytes for the same results."""
    places = {fact["label"]: fact["selection"][axis] for fact in results["variants"]}
    methods = {fact["label"]: fact["method"] for fact in results["variants"]}
    primary = [entry for entry in results["figures"] if entry["primary"]]
    tasks = list(dict.fromkeys(entry["task"] for entry in primary))
    # The average first: it is what most people want to know.
    tasks = [AVERAGE, *(task for task in tasks if task != AVERAGE)]
    figure, panels = _panels(len(tasks))
    for task, axes in zip(tasks, panels, strict=True):
        found = [entry for entry in primary if entry["task"] == task]
        lines: dict[str, _Line] = {}
        for entry in found:
            point = places[entry["label"]], entry
            lines.setdefault(methods[entry["label"]], []).append(point)
        _draw(axes, lines, axis)
        _widen(axes, least=found[0]["maximum"] / 10)
        axes.set_title(task if task == AVERAGE else f"{task} ({found[0]['metric']})", fontsize=10)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    figure.supxlabel(_AXIS_LABELS[axis], fontsize=10)
    return _saved(figure, kind)


def _panels(number: int) -> tuple[Figure, list[Axes]]:
    columns = min(number, _MOST_COLUMNS)
    rows = -(-number // columns)
    figure = Figure(figsize=(3.4 * columns, 0.6 + 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for empty in panels[number:]:
        empty.remove()
    return figure, panels[:number]


def _draw(axes: Axes, lines: Mapping[str, _Line], axis: Axis) -> None:
    """Every method's values with their intervals; dense as a line across."""
    methods = [method for method in lines if method != DENSE]
    for method, (colour, marker) in zip(methods, _cycle(len(methods)), strict=True):
        points = sorted(lines[method], key=lambda point: point[0])
        where = [place for place, _ in points]
        low, high = ([entry[end] for _, entry in points] for end in ("low", "high"))
        values = [entry["value"] for _, entry in points]
        axes.fill_between(where, low, high, color=colour, alpha=0.15, linewidth=0)
        if len(points) == 1:  # Its band has no width.
            axes.vlines(where, low, high, color=colour, linewidth=1)
        axes.plot(where, values, color=colour, marker=marker, markersize=4, label=method)
    for _, entry in lines.get(DENSE, []):
        axes.axhspan(entry["low"], entry["high"], color="0.5", alpha=0.15, linewidth=0)
        axes.axhline(entry["value"], color="0.25", linestyle="--", linewidth=1, label=DENSE)
    _dress(axes, sorted({place for method in methods for place, _ in lines[method]}), axis)


def _dress(axes: Axes, places: Sequence[float], axis: Axis) -> None:
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if places and axis == "budget":
        # Budgets are chosen by doubling; on a linear axis the small ones would sit in a corner.
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(places, [_budget(budget) for budget in places])
    elif not places:
        axes.set_xticks([])


def _widen(axes: Axes, least: float) -> None:
    """Where all values agree, an axis of its own choice would show rounding."""
    bottom, top = axes.get_ylim()
    if top - bottom < least:
        middle = (top + bottom) / 2
        axes.set_ylim(middle - least / 2, middle + least / 2)


def _budget(budget: float) -> str:
    return f"{100 * budget:g} %" if budget <= 1 else f"{budget:g}"


def _cycle(number: int) -> list[tuple[str, str]]:
    return [_STYLES[index % len(_STYLES)] for index in range(number)]


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # Texts stay texts in the SVG; neither ids nor a date make two pictures differ.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "accuracy"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()
