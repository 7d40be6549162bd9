"""Pictures of all methods at once: what accuracy costs, and each method among the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lab.evaluation.results.measure import AVERAGE
from lab.evaluation.results.plot import add_legend, draw_line, dress, make_panels, name_of, saved
from lab.evaluation.results.styles import Style, styles_of
from lab.evaluation.results.table import speed_of
from lab.evaluation.study.runs import DENSE, REFERENCE

__all__ = ["methods_picture", "speed_picture"]

_Facts = Mapping[str, Any]
_Point = tuple[float, float]
_Lines = Mapping[str, Sequence[_Point]]

_BUDGETS: Final = "token budget in %, above 1 a count; dashed: dense, dark: hired"
_SPEED: Final = "images/s"
_TOKENS: Final = "visual tokens that a decoder layer saw"


def speed_picture(results: Mapping[str, Any], kind: str) -> bytes | None:
    """The average over tasks against tokens and, beside it, against images/s.

    A line is a method at its budgets. None where speed was not measured.
    """
    if any(speed_of(fact) is None for fact in results["variants"]):
        return None
    styles = styles_of(results)
    figure, panels = make_panels(2, size=(4.8, 4.0), sharey=True)
    axes: tuple[tuple[str, Callable[[_Facts], float]], ...] = (
        (_TOKENS, lambda fact: fact["visual_tokens_seen"]),
        (_SPEED, lambda fact: speed_of(fact) or 0.0),
    )
    for panel, (title, across) in zip(panels, axes, strict=True):
        _draw(panel, _lines(results, across), styles)
        panel.set_xscale("log")
        _ticks(panel)
        panel.set_xlabel(title, fontsize=10)
    panels[0].set_ylabel("average over tasks", fontsize=10)
    add_legend(figure, panels[0])
    return saved(figure, kind)


def methods_picture(results: Mapping[str, Any], kind: str) -> bytes:
    """A panel a method: its average over tasks against budget, all others grey behind it.

    `hired` is dark among them.
    """
    styles = styles_of(results)
    lines = _lines(results, lambda fact: fact["selection"]["budget"])
    figure, panels = make_panels(len(styles), most_columns=5, size=(2.1, 1.7), sharey=True)
    for axes, method in zip(panels, styles, strict=True):
        alone = {name: Style() for name in styles}
        if REFERENCE in alone:
            alone[REFERENCE] = Style(colour="0.35")
        alone[method] = Style(colour="#0072B2", marker="o", leads=True)
        _draw(axes, lines, alone)
        places = sorted({place for name in styles for place, _ in lines[name]})
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(places, [f"{100 * p:g}" if p <= 1 else f"{p:g}" for p in places])
        axes.set_title(method, fontsize=9)
    figure.supxlabel(_BUDGETS, fontsize=10)
    figure.supylabel("average over tasks", fontsize=10)
    return saved(figure, kind)


def _lines(results: Mapping[str, Any], across: Callable[[_Facts], float]) -> _Lines:
    """By method, (what is across, average over tasks) of its runs, by budget."""
    facts = {fact["label"]: fact for fact in results["variants"]}
    found: dict[str, list[tuple[float, _Point]]] = {}
    for entry in results["figures"]:
        if entry["task"] == AVERAGE:
            fact = facts[entry["label"]]
            point = fact["selection"]["budget"], (across(fact), entry["value"])
            found.setdefault(fact["method"], []).append(point)
    return {method: [point for _, point in sorted(points)] for method, points in found.items()}


def _draw(axes: Axes, lines: _Lines, styles: Mapping[str, Style]) -> None:
    for method, style in styles.items():
        where, values = zip(*lines[method], strict=True)
        draw_line(axes, where, values, style, name_of(method, styles))
    for place, value in lines.get(DENSE, []):
        axes.axhline(value, color="0.25", linestyle="--", linewidth=1)
        axes.plot([place], [value], color="0.25", marker="h", linestyle="", label=DENSE)
    dress(axes)


def _ticks(axes: Axes) -> None:
    """A logarithmic axis with a few round numbers, whatever its span."""
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_xlim()
    steps = [factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 3, 5)]
    inside = [step for step in steps if low <= step <= high]
    axes.xaxis.set_major_locator(FixedLocator(inside) if len(inside) > 1 else MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
