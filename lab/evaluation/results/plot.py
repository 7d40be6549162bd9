"""Accuracy against budget or alpha: a panel per task, a line per method, dense across.

Of many methods the leading ones have colours and names, the others are grey behind them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lab.evaluation.results.measure import AVERAGE
from lab.evaluation.results.styles import Style, styles_of
from lab.evaluation.study.runs import DENSE

__all__ = ["Axis", "add_legend", "draw_line", "dress", "make_panels", "name_of", "plot", "saved"]

Axis = Literal["budget", "alpha"]

_MOST_COLUMNS: Final = 3
_MOST_NAMES: Final = 5
"""In a line of the legend."""
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
    styles = styles_of(results)
    figure, panels = make_panels(len(tasks))
    for task, axes in zip(tasks, panels, strict=True):
        found = [entry for entry in primary if entry["task"] == task]
        lines: dict[str, _Line] = {}
        for entry in found:
            point = places[entry["label"]], entry
            lines.setdefault(methods[entry["label"]], []).append(point)
        _draw(axes, lines, axis, styles)
        _widen(axes, least=found[0]["maximum"] / 10)
        axes.set_title(task if task == AVERAGE else f"{task} ({found[0]['metric']})", fontsize=10)
    add_legend(figure, panels[0])
    figure.supxlabel(_AXIS_LABELS[axis], fontsize=10)
    return saved(figure, kind)


def make_panels(
    number: int,
    *,
    most_columns: int = _MOST_COLUMNS,
    size: tuple[float, float] = (3.4, 2.5),
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels, of a width and height in inches."""
    columns = min(number, most_columns)
    rows = -(-number // columns)
    width, height = size
    figure = Figure(figsize=(width * columns, 0.6 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    panels: list[Axes] = list(grid.flat)
    for empty in panels[number:]:
        empty.remove()
    return figure, panels[:number]


def add_legend(figure: Figure, axes: Axes) -> None:
    """Above all panels, what one of them shows."""
    handles, names = axes.get_legend_handles_labels()
    columns = min(len(names), _MOST_NAMES)
    figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False)


def _draw(axes: Axes, lines: Mapping[str, _Line], axis: Axis, styles: Mapping[str, Style]) -> None:
    """Every method's values, with intervals where it leads; dense as a line across."""
    for method, style in styles.items():
        points = sorted(lines[method], key=lambda point: point[0])
        where = [place for place, _ in points]
        low, high = ([entry[end] for _, entry in points] for end in ("low", "high"))
        values = [entry["value"] for _, entry in points]
        draw_line(axes, where, values, style, name_of(method, styles))
        if style.leads:
            axes.fill_between(where, low, high, color=style.colour, alpha=0.15, linewidth=0)
            if len(points) == 1:  # Its band has no width.
                axes.vlines(where, low, high, color=style.colour, linewidth=1)
    for _, entry in lines.get(DENSE, []):
        axes.axhspan(entry["low"], entry["high"], color="0.5", alpha=0.15, linewidth=0)
        axes.axhline(entry["value"], color="0.25", linestyle="--", linewidth=1, label=DENSE)
    _dress(axes, sorted({place for method in styles for place, _ in lines[method]}), axis)


def draw_line(
    axes: Axes, where: Sequence[float], values: Sequence[float], style: Style, name: str
) -> None:
    """Of one method; those that do not lead are thin and behind."""
    axes.plot(
        where,
        values,
        color=style.colour,
        marker=style.marker or ("" if len(values) > 1 else "."),
        markersize=5,
        linewidth=1.4 if style.leads else 0.8,
        zorder=2 if style.leads else 1,
        label=name,
    )


def name_of(method: str, styles: Mapping[str, Style]) -> str:
    """In the legend: its own, "n others" at the first of those that do not lead, else hidden."""
    if styles[method].leads:
        return method
    others = [name for name, style in styles.items() if not style.leads]
    return f"{len(others)} others" if method == others[0] else f"_{method}"


def dress(axes: Axes) -> None:
    """What all panels look like."""
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _dress(axes: Axes, places: Sequence[float], axis: Axis) -> None:
    dress(axes)
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


def saved(figure: Figure, kind: str) -> bytes:
    """The figure as a file, the same bytes whenever it is the same."""
    buffer = io.BytesIO()
    # Texts stay texts in the SVG; neither ids nor a date make two pictures differ.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "accuracy"}):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()
