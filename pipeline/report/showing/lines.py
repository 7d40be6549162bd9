"""A report without a page: a dozen lines for each output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.report.asked import ReportOptions
from pipeline.report.reading.changes import compare
from pipeline.report.reading.findings import Findings
from pipeline.report.reading.runs import Run
from pipeline.report.showing.cards import clipped
from pipeline.report.showing.charts import clock
from pipeline.report.showing.page import named
from pipeline.report.showing.views import percent

__all__ = ["compared", "told"]

_MOST_NAMES = 8


def told(findings: Findings) -> str:
    """What a person wants to know first."""
    captions, quarantine = findings.captions, findings.quarantine
    kept, dense = captions.visual_tokens_kept, captions.visual_tokens_dense
    made = ", ".join(str(value) for value in findings.made_with if value is not None)
    lines = [
        ("output", findings.subject.name),
        ("made with", f"{made or '-'}, fingerprint {findings.subject.fingerprint or '-'}"),
        ("rows", f"{findings.rows:,} from {findings.subject.num_shards():,} shards"),
        ("captioned", f"{captions.rows:,} ({percent(captions.rows, findings.rows)})"),
        ("quarantined", f"{quarantine.rows:,}{_listed(quarantine.codes)}"),
        ("flags", f"{captions.flagged:,}{_listed(captions.flags)}"),
        ("visual tokens", f"{kept:,} kept of {dense:,} ({percent(kept, dense)})"),
        *[("run", _run(run)) for run in findings.statistics.runs[-_MOST_NAMES:]],
        *[("note", note) for note in findings.notes()],
    ]
    return "\n".join(f"{name:>14}  {clipped(text, 2000)}" for name, text in lines)


def compared(options: ReportOptions, findings: Sequence[Findings]) -> str:
    """The two outputs of --compare in a few lines."""
    first, second = (named(findings, url) for url in options.compare)
    found = compare(first.parts, second.parts, examples=options.examples, seed=options.seed)
    mean = sum(found.changes) / len(found.changes) if found.changes else 0
    lines = [
        ("compared", f"{found.joined:,} captions are in both outputs"),
        ("same text", f"{found.same:,} ({percent(found.same, found.joined)})"),
        ("changed", f"{mean:.0%} of the words, in the mean of {found.looked_at:,} others"),
        ("alone", f"{found.alone[0]:,} in the first, {found.alone[1]:,} in the second"),
    ]
    return "\n".join(f"{name:>14}  {text}" for name, text in lines)


def _listed(times: Mapping[str, int]) -> str:
    most = sorted(times.items(), key=lambda pair: -pair[1])[:_MOST_NAMES]
    return f" ({', '.join(f'{name} {count:,}' for name, count in most)})" if most else ""


def _run(run: Run) -> str:
    rate, usd = run.images_per_sec, run.usd_per_1000
    cost = "" if usd is None else f", USD {usd:.4f} per 1000 images"
    speed = "" if rate is None else f", {rate:.3g} images/s"
    return f"{run.when} UTC, {run.images:,} images in {clock(run.wall_sec)}{speed}{cost}"
