"""The results for people: tables for a terminal and a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.evaluation.results.measure import AVERAGE
from lab.tables import Table

__all__ = ["markdown", "notes", "tables"]

_Entry = Mapping[str, Any]


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Values, differences, and metrics that do not stand for their task."""
    entries = _by_label(results["figures"])
    found = [_values(results, entries)]
    compared = {name for entry in results["figures"] for name in entry["minus"]}
    names = [name for name in results["against"] if name in compared]
    found += [_differences(name, results, entries) for name in names]
    others = _others(results, entries)
    return [*found, others] if others.rows and len(others.columns) > 1 else found


def notes(results: Mapping[str, Any]) -> str:
    """What the tables mean, in one paragraph."""
    bootstrap = results["bootstrap"]
    lines = [
        f"In brackets: {bootstrap['level']:.0%} intervals of {bootstrap['draws']} bootstrap draws "
        "of images. Differences are paired, of the same draws; * marks those whose interval "
        "leaves out 0.",
        "The average is over tasks, each as a share of the best value of its metric. Quarantined "
        "questions score 0.",
        "Visual tokens are a mean over answered questions. images/s is from the first batch of "
        "the vision tower to the last of the language model, without the start of actors.",
    ]
    return "\n".join(lines)


def markdown(results: Mapping[str, Any]) -> str:
    """The page: title, tables, notes."""
    benchmark = results["benchmark"]
    head = f"# {results['title']}: {_what(results)}"
    asked = f"Model {results['model']['name']}, weights {results['model']['weights']}; "
    asked += f"seed {benchmark['setting']['seed']}."
    body = "\n\n".join(table.markdown() for table in tables(results))
    return f"{head}\n\n{asked}\n\n{body}\n\n{notes(results)}\n"


def _what(results: Mapping[str, Any]) -> str:
    benchmark = results["benchmark"]
    name = benchmark["setting"]["benchmark"]
    return f"{name}, {benchmark['questions']:,} questions about {benchmark['images']:,} images"


def _by_label(entries: Iterable[_Entry]) -> dict[str, list[_Entry]]:
    found: dict[str, list[_Entry]] = {}
    for entry in entries:
        found.setdefault(entry["label"], []).append(entry)
    return found


def _primary(entries: Iterable[_Entry]) -> list[_Entry]:
    return [entry for entry in entries if entry["primary"]]


def _titles(entries: Sequence[_Entry]) -> list[str]:
    return [
        AVERAGE if entry["task"] == AVERAGE else f"{entry['task']}, {entry['metric']}"
        for entry in entries
    ]


def _values(results: Mapping[str, Any], entries: Mapping[str, list[_Entry]]) -> Table:
    facts = {variant["label"]: variant for variant in results["variants"]}
    rows = []
    for label, found in entries.items():
        fact = facts[label]
        tokens, speed = fact["visual_tokens_kept"], fact["images_per_sec"]
        cells = [
            "" if tokens is None else f"{tokens:.0f}",
            "" if speed is None else f"{speed:.2f}",
            str(fact["quarantined"]),
        ]
        rows.append([label, *cells, *(_with_interval(entry) for entry in _primary(found))])
    first = next(iter(entries.values()))
    columns = ["", "visual tokens", "images/s", "quarantined", *_titles(_primary(first))]
    return Table(title=f"{results['title']}: {_what(results)}", columns=columns, rows=rows)


def _differences(
    name: str, results: Mapping[str, Any], entries: Mapping[str, list[_Entry]]
) -> Table:
    rows = [
        [label, *(_difference(entry["minus"][name], entry) for entry in _primary(found))]
        for label, found in entries.items()
        if name in found[0]["minus"]
    ]
    columns = ["", *_titles(_primary(next(iter(entries.values()))))]
    return Table(title=f"Difference to {results['against'][name]}", columns=columns, rows=rows)


def _others(results: Mapping[str, Any], entries: Mapping[str, list[_Entry]]) -> Table:
    rest = {
        label: [entry for entry in found if not entry["primary"]]
        for label, found in entries.items()
    }
    rows = [[label, *map(_with_interval, found)] for label, found in rest.items()]
    return Table(
        title="Other metrics", columns=["", *_titles(next(iter(rest.values())))], rows=rows
    )


def _with_interval(entry: _Entry) -> str:
    number = _digits(entry)
    return f"{entry['value']:{number}} [{entry['low']:{number}}, {entry['high']:{number}}]"


def _difference(minus: Mapping[str, float], entry: _Entry) -> str:
    number = f"+{_digits(entry)}"
    mark = "*" if minus["low"] > 0 or minus["high"] < 0 else ""
    return f"{minus['value']:{number}} [{minus['low']:{number}}, {minus['high']:{number}}]{mark}"


def _digits(entry: _Entry) -> str:
    """Enough to tell a thousandth of the best value."""
    return ".1f" if entry["maximum"] >= 10 else ".3f"
