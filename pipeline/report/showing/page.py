"""The page: one file of HTML, which asks for nothing and is no larger for more rows.

All that comes from data is escaped by Jinja2; the page's own policy forbids any other script and
any request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.asked import ReportOptions
from pipeline.report.reading.changes import Comparison, Pair, compare
from pipeline.report.reading.findings import Findings
from pipeline.report.showing.cards import Card, clipped, make_card
from pipeline.report.showing.charts import Chart, change_chart, clock, cost_chart
from pipeline.report.showing.pictures import Pictures
from pipeline.report.showing.views import every_run, percent, view_of
from pipeline.report.style import page_style
from pipeline.rows.errors import ConfigError
from pipeline.sources import redact_url

__all__ = ["named", "page_environment", "render", "script_policy"]

_HERE: Final = Path(__file__).parent / "templates"
_IN_DETAIL: Final = 12
"""Outputs with a section each; more are in the table alone."""


@dataclass(frozen=True, kw_only=True)
class PairView:
    """A caption in both outputs, with its image."""

    pair: Pair
    name: str
    card: Card
    cards: tuple[Card | None, Card | None]


@dataclass(frozen=True, kw_only=True)
class ComparisonView:
    """Two outputs side by side."""

    names: tuple[str, str]
    findings: tuple[Findings, Findings]
    found: Comparison
    chart: Chart | None
    pairs: Sequence[PairView]


def render(options: ReportOptions, findings: Sequence[Findings]) -> str:
    """HTML of what was found; examples' rows and images are read here."""
    pictures = Pictures(options)
    comparison = _compare(options, findings, pictures)
    views = [view_of(one, n, pictures) for n, one in enumerate(findings[:_IN_DETAIL], start=1)]
    runs = every_run(views)
    return (
        page_environment()
        .get_template("report.html")
        .render(
            title=_title(findings),
            made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            program=version("hired-batch"),
            findings=findings,
            views=views,
            comparison=comparison,
            runs=runs[::-1],
            cost=cost_chart(runs),
            policy=script_policy(_read("report.js")),
            style=Markup(page_style()),  # Ours.
            script=Markup(_read("report.js")),
        )
    )


def _title(findings: Sequence[Findings]) -> str:
    if len(findings) == 1:
        return f"Captions of {clipped(findings[0].subject.name, 200)}"
    return f"Captions of {len(findings)} outputs"


def page_environment(*folders: Path) -> Environment:
    """Templates of this room, and of `folders` before it; what is filled in is escaped."""
    environment = Environment(
        loader=FileSystemLoader([*folders, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "count": lambda value: f"{value:,}",
        "clock": clock,
        "usd": lambda value: "-" if value is None else f"{value:.4f}",
        "rate": lambda value: "-" if value is None else f"{value:.3g}",
    }
    environment.filters |= filters
    environment.globals["percent"] = percent
    return environment


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def script_policy(script: str) -> str:
    """Only this script runs, even should a text get past escaping; pictures are data URIs."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return f"{sources}; script-src 'sha256-{digest}'"


def _compare(
    options: ReportOptions, findings: Sequence[Findings], pictures: Pictures
) -> ComparisonView | None:
    """Of the two outputs that were named, their own runs alone."""
    if not options.compare:
        return None
    first, second = (named(findings, url) for url in options.compare)
    found = compare(first.parts, second.parts, examples=options.examples, seed=options.seed)
    return ComparisonView(
        names=(clipped(first.subject.name, 200), clipped(second.subject.name, 200)),
        findings=(first, second),
        found=found,
        chart=change_chart(found.changes),
        pairs=_pairs(found, first, second, pictures),
    )


def named(findings: Sequence[Findings], url: str) -> Findings:
    """Those of the output at `url` itself.

    Raises:
        ConfigError: if there are but runs below it.
    """
    wanted = url.rstrip("/")
    for one in findings:
        if one.subject.sink.url.rstrip("/") == wanted:
            return one
    raise ConfigError(
        f"compare: {redact_url(url)} has runs below it alone; name one of them, as "
        f"{redact_url(wanted)}/runs/FINGERPRINT"
    )


def _pairs(
    found: Comparison, first: Findings, second: Findings, pictures: Pictures
) -> list[PairView]:
    rows = [
        one.parts.rows(pair.places[side] for pair in found.pairs)
        for side, one in enumerate((first, second))
    ]
    images = pictures.of(first.subject, rows[0].values())
    shown = []
    for pair in found.pairs:
        both = [rows[side].get(pair.places[side]) for side in (0, 1)]
        cards = [None if row is None else make_card(row, images) for row in both]
        card = cards[0] or cards[1]
        if card is not None:
            name = clipped(pair.id.replace("\n", ", prompt "), 300)
            shown.append(PairView(pair=pair, name=name, card=card, cards=(cards[0], cards[1])))
    return shown
