"""The figures of a benchmark as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hired_core.backends.base import GIB
from lab.benchmark.contestants.answers import PHASES
from lab.tables import Table

_COLUMNS = (
    "contestant",
    "images/s",
    "ratio (min to max)",
    "tokens/s",
    "first token p50, p95 s",
    "prepare, vision, prefill, decode ms/image",
    "slots",
    "peak GiB",
)


def contest_table(title: str, part: Mapping[str, Any]) -> Table:
    """Of end-to-end runs; those that ran out of memory say so. F1 where texts can be true."""
    f1: Mapping[str, float] = part.get("f1", {})
    rows = [
        [*_contest_row(name, found), *([f"{f1[name]:.2f}"] if f1 else [])]
        for name, found in part["summary"].items()
    ]
    columns = [*_COLUMNS, *(["F1"] if f1 else [])]
    blank = [""] * (len(columns) - 2)
    rows += [[name, why["reason"], *blank] for name, why in part["failed"].items()]
    return Table(title=title, columns=columns, rows=rows)


def _contest_row(name: str, found: Mapping[str, Any]) -> list[str]:
    phases = (f"{1e3 * found['sec_per_image'][phase]:.0f}" for phase in PHASES)
    peak = found["peak_memory_bytes"]
    return [
        name,
        f"{found['images_per_sec']['median']:.3g}",
        with_spread(found["ratio"]),
        f"{found['tokens_per_sec']['median']:.3g}",
        f"{found['ttft_p50_sec']:.2f}, {found['ttft_p95_sec']:.2f}",
        ", ".join(phases),
        str(found["slots"]),
        "" if peak is None else f"{peak / GIB:.2f}",
    ]


def with_spread(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    return f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


def stage_table(title: str, stage: Mapping[str, Any]) -> Table:
    """Of alternating calls; ratios are to the last."""
    rows = [
        [
            name,
            f"{found['ms']['median']:.1f}",
            f"{found['ms']['min']:.1f}",
            with_spread(found["ratio"]),
            f"{found['ratio_of_best']:.2f}",
        ]
        for name, found in stage["calls"].items()
    ]
    columns = ("", "ms", "best ms", "time / ours (min to max)", "of best")
    return Table(title=title, columns=columns, rows=rows)


def roofline_table(title: str, phases: Mapping[str, Mapping[str, Any]]) -> Table:
    """Least and measured time per image by contestant and phase."""
    rows = [
        [
            f"{name}, {phase}",
            f"{found['gflop']:.1f}",
            f"{found['mbytes']:.0f}",
            f"{found['least_ms']:.1f}",
            f"{found['ms']:.1f}",
            f"{found['share']:.0%}",
        ]
        for name, by_phase in phases.items()
        for phase, found in by_phase.items()
    ]
    columns = ("per image", "GFLOP", "MB", "least ms", "ms", "of the possible")
    return Table(title=title, columns=columns, rows=rows)


def decision_table(part: Mapping[str, Any]) -> Table:
    """What every method's choice costs."""
    rows = [
        [name, str(found["rows"]), with_spread(found["ms"])]
        for name, found in part["methods"].items()
    ]
    sizes = part["sizes"]
    of = f"{sizes['images']} images of 5 x {sizes['side'] ** 2} tokens, {sizes['width']} wide"
    title = f"deciding, {of}, {sizes['kept']} to keep"
    return Table(title=title, columns=("", "rows", "ms an image (min to max)"), rows=rows)


def memory_table(title: str, limits: Sequence[Mapping[str, Any]]) -> Table:
    """Predicted and measured peak of each setting; of a process that died, its exit code."""
    rows = [
        [f"budget {found['budget']:g}, {found['dtype']}", *_memory_cells(found)] for found in limits
    ]
    columns = ("", "slots", "limit GiB", "predicted GiB", "measured GiB", "measured / predicted")
    return Table(title=title, columns=columns, rows=rows)


def _memory_cells(found: Mapping[str, Any]) -> list[str]:
    if "exit_code" in found:
        return [f"exit code {found['exit_code']}", f"{found['limit_gib']:.3f}", *3 * ["-"]]
    gib = (f"{found[key] / GIB:.3f}" for key in _MEMORY)
    return [str(found["slots"]), *gib, f"{found['ratio']:.3f}"]


_MEMORY = ("limit_bytes", "predicted_bytes", "peak_bytes")
