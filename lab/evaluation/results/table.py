"""The results for people: tables for a terminal and a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lab.evaluation.results.measure import AVERAGE
from lab.tables import Table

__all__ = ["markdown", "notes", "speed_of", "tables"]

FEWEST: Final = 6
"""Images without which no difference is marked: of 5, all that differ do so to one side by luck
alone in 1 of 16 cases, and the draws of so few show none of it."""

_Entry = Mapping[str, Any]
_COLUMNS: Final = (
    "visual tokens seen",
    "left at the end",
    "KV cache, MiB/image",
    "images/s",
    "quarantined",
)


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
        f"leaves out 0, where {FEWEST} images or more were drawn from.",
        "The average is over tasks, each as a share of the best value of its metric. Quarantined "
        "questions score 0.",
        "Visual tokens are means over answered questions: those that a decoder layer saw, of all "
        "layers, and those left behind the last one. The cache is of the keys and values of an "
        "image's positions in all layers.",
        _speed_note(results),
    ]
    return "\n".join(lines)


def _speed_note(results: Mapping[str, Any]) -> str:
    """What images/s are of."""
    timing = results.get("timing")
    if timing is None:
        return (
            "images/s, where a job answered, is from the first batch of the vision tower to the "
            "last of the language model, without the start of actors."
        )
    return (
        f"images/s is from cut image to text, on {timing['images']} images with each variant's "
        f"own tower and language model, all in turns of {timing['round']} images."
    )


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


def _compared(entries: Iterable[_Entry]) -> list[_Entry]:
    """Those that a difference is told of: what stands for its task, and what should be little."""
    return [entry for entry in entries if entry["primary"] or entry.get("better") == "less"]


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
        cells = [
            _number(fact.get("visual_tokens_seen"), ".0f"),
            _number(fact["visual_tokens_kept"], ".0f"),
            _number(fact.get("kv_bytes_per_image"), ".2f", 2**20),
            _number(speed_of(fact), ".2f"),
            str(fact["quarantined"]),
        ]
        rows.append([label, *cells, *(_with_interval(entry) for entry in _primary(found))])
    first = next(iter(entries.values()))
    columns = ["", *_COLUMNS, *_titles(_primary(first))]
    return Table(title=f"{results['title']}: {_what(results)}", columns=columns, rows=rows)


def speed_of(fact: Mapping[str, Any]) -> float | None:
    """images/s of a variant: measured in turns with all others, else the job's; None: neither."""
    timed = fact.get("timed")
    found: float | None = timed["images_per_sec"] if timed else fact["images_per_sec"]
    return found


def _number(value: float | None, digits: str, unit: float = 1) -> str:
    return "" if value is None else f"{value / unit:{digits}}"


def _differences(
    name: str, results: Mapping[str, Any], entries: Mapping[str, list[_Entry]]
) -> Table:
    rows = [
        [label, *(_difference(entry["minus"][name], entry) for entry in _compared(found))]
        for label, found in entries.items()
        if name in found[0]["minus"]
    ]
    columns = ["", *_titles(_compared(next(iter(entries.values()))))]
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
    enough = entry.get("images", FEWEST) >= FEWEST
    mark = "*" if enough and (minus["low"] > 0 or minus["high"] < 0) else ""
    return f"{minus['value']:{number}} [{minus['low']:{number}}, {minus['high']:{number}}]{mark}"


def _digits(entry: _Entry) -> str:
    """Enough to tell a thousandth of the best value."""
    return ".1f" if entry["maximum"] >= 10 else ".3f"
