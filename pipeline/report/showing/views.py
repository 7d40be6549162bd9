"""What the page shows of an output, ready to be written down: texts, shapes, cards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.quality.criteria import FLAGS
from pipeline.report.reading.findings import Findings
from pipeline.report.reading.parts_read import Place
from pipeline.report.reading.runs import Run
from pipeline.report.reading.slow_shards import ShardTime
from pipeline.report.reading.texts import RANDOM
from pipeline.report.showing.advice import CODE_ADVICE, FLAG_ADVICE, UNKNOWN
from pipeline.report.showing.cards import Card, clipped, make_card
from pipeline.report.showing.charts import (
    Chart,
    Segment,
    length_chart,
    segments,
    shares,
    throughput_chart,
)
from pipeline.report.showing.pictures import Pictures
from pipeline.rows.errors import ROW_ERROR_CODES

__all__ = ["KindView", "OutputView", "Tile", "percent", "view_of"]

_MAPS: Final = 6
_THROUGHPUTS: Final = 4
_RUNS: Final = 30
_SETTING: Final = 1000


@dataclass(frozen=True)
class Tile:
    """A figure, what it is, and a word on it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class KindView:
    """An error code or a flag: how often, what it means, what to do, examples."""

    name: str
    count: int
    share: float
    meaning: str
    advice: str
    stages: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class OutputView:
    """One output."""

    name: str
    anchor: str
    findings: Findings
    notes: Sequence[str]
    tiles: Sequence[Tile]
    outcome: Sequence[Segment]
    settings: Sequence[tuple[str, str]]
    versions: Sequence[tuple[str, str]]
    codes: Sequence[KindView]
    flags: Sequence[KindView]
    prompt_names: Sequence[tuple[str, int, float]]
    cards: Sequence[Card]
    maps: Sequence[Card]
    lengths: Chart | None
    runs: Sequence[Run]
    throughput: Sequence[tuple[Run, Chart]]
    slow: Sequence[ShardTime]


def view_of(findings: Findings, number: int, pictures: Pictures) -> OutputView:
    """Reads the rows of the examples, and their images."""
    captions, quarantine = findings.captions, findings.quarantine
    places = {RANDOM: captions.places[RANDOM], **_named("flag", captions.places)}
    places |= _named("code", quarantine.places)
    cards = _cards(findings, places, pictures)
    runs = findings.statistics.runs
    random_cards = cards[RANDOM]
    return OutputView(
        name=clipped(findings.subject.name, 300),
        anchor=f"output-{number}",
        findings=findings,
        notes=findings.notes(),
        tiles=_tiles(findings),
        outcome=segments(
            [
                ("captioned", captions.rows - captions.flagged, "right"),
                ("captioned, with flags", captions.flagged, "partly"),
                ("quarantined", quarantine.rows, "wrong"),
            ]
        ),
        settings=_settings(findings.subject.fields),
        versions=_settings(findings.subject.report.get("versions") or {}),
        codes=_codes(findings, cards),
        flags=_flags(findings, cards),
        prompt_names=shares({name: n for name, n in captions.names.items() if name}),
        cards=random_cards,
        maps=[card for card in random_cards if card.budgets][:_MAPS],
        lengths=length_chart(captions.lengths, "tokens"),
        runs=runs[-_RUNS:],
        throughput=[
            (run, chart) for run in runs[-_THROUGHPUTS:] if (chart := throughput_chart(run))
        ],
        slow=findings.slow,
    )


def _named(kind: str, places: Mapping[str, Sequence[Place]]) -> dict[str, Sequence[Place]]:
    return {f"{kind} {name}": found for name, found in places.items() if name != RANDOM}


def _cards(
    findings: Findings, places: Mapping[str, Sequence[Place]], pictures: Pictures
) -> dict[str, tuple[Card, ...]]:
    every = dict.fromkeys(place for found in places.values() for place in found)
    rows = findings.parts.rows(every)
    images = pictures.of(findings.subject, rows.values())
    return {
        name: tuple(make_card(rows[place], images) for place in found if place in rows)
        for name, found in places.items()
    }


def _codes(findings: Findings, cards: Mapping[str, tuple[Card, ...]]) -> list[KindView]:
    stages = findings.quarantine.stages
    return [
        KindView(
            name=clipped(code, 100) or "(no code)",
            count=count,
            share=share,
            meaning=ROW_ERROR_CODES.get(code, "a code that this version does not know"),
            advice=CODE_ADVICE.get(code, UNKNOWN),
            stages=clipped(", ".join(name for name, n in stages[code].items() if n), 100),
            cards=cards[f"code {code}"],
        )
        for code, count, share in shares(findings.quarantine.codes)
    ]


def _flags(findings: Findings, cards: Mapping[str, tuple[Card, ...]]) -> list[KindView]:
    return [
        KindView(
            name=clipped(flag, 100),
            count=count,
            share=share,
            meaning=FLAGS.get(flag, "a flag that this version does not know"),
            advice=FLAG_ADVICE.get(flag, UNKNOWN),
            stages="",
            cards=cards[f"flag {flag}"],
        )
        for flag, count, share in shares(findings.captions.flags)
    ]


def _tiles(findings: Findings) -> list[Tile]:
    captions, quarantine = findings.captions, findings.quarantine
    rows = findings.rows
    last = findings.statistics.runs[-1] if findings.statistics.runs else None
    tiles = [
        Tile("rows", f"{rows:,}", _of_shards(findings.subject.num_shards())),
        Tile("captioned", f"{captions.rows:,}", percent(captions.rows, rows)),
        Tile("quarantined", f"{quarantine.rows:,}", percent(quarantine.rows, rows)),
        Tile("with flags", f"{captions.flagged:,}", _flag_note(findings)),
        Tile(
            "visual tokens kept",
            percent(captions.visual_tokens_kept, captions.visual_tokens_dense),
            f"{captions.visual_tokens_kept:,} of {captions.visual_tokens_dense:,}",
        ),
    ]
    if captions.duplicates:
        tiles.append(Tile("duplicates", f"{captions.duplicates:,}", "captioned by their first"))
    return [*tiles, *_run_tiles(last)] if last else tiles


def _of_shards(count: int) -> str:
    return f"from {count:,} shard{'' if count == 1 else 's'}"


def _flag_note(findings: Findings) -> str:
    captions = findings.captions
    if captions.without_flags:
        return f"{captions.without_flags:,} are of a version without flags"
    return percent(captions.flagged, captions.rows)


def _run_tiles(last: Run) -> list[Tile]:
    whole, busy = last.usd_per_1000, last.busy_usd_per_1000
    if whole is not None:
        cost = Tile("USD per 1000 images", f"{whole:.4f}", "last run, idle time included")
    else:
        told = "-" if busy is None else f"{busy:.4f}"
        cost = Tile("USD per 1000 images", told, "last run, busy seconds alone")
    rate = last.images_per_sec
    return [
        cost,
        Tile("images/s", "-" if rate is None else f"{rate:.3g}", f"last run, {last.when}"),
    ]


def percent(part: float, whole: float) -> str:
    """With a digit behind the point below 10 %; "-" of nothing."""
    if not whole:
        return "-"
    share = part / whole
    return f"{share:.1%}" if 0 < share < 0.1 or 0.9 < share < 1 else f"{share:.0%}"


def _settings(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flat; what is not set is left out."""
    flat: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat += _settings(value, f"{prefix}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat.append((clipped(f"{prefix}{name}", 100), clipped(text, _SETTING)))
    return flat


def every_run(views: Iterable[OutputView]) -> list[tuple[str, Run]]:
    """(output, run) of all, by time."""
    found = [(view.name, run) for view in views for run in view.runs]
    return sorted(found, key=lambda pair: pair[1].started)
