"""`report.json` and what is printed when a job is done."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hired_core.images.notes import NOTES
from pipeline.accounting.cost import Prices
from pipeline.accounting.stats import ACTOR_STAGES, STAGES
from pipeline.accounting.token_budget import asked, kept_words
from pipeline.job.copying import saving
from pipeline.job.plan import Plan, num_named
from pipeline.ledger.writer import LedgerWriter
from pipeline.parts.sink import Sink
from pipeline.quality.criteria import FLAGS
from pipeline.rows.errors import PASSING_CODES
from pipeline.rows.words import counted
from pipeline.sources import redact_url
from pipeline.sources.paths.passed_over import HIDDEN, told
from pipeline.stages.fill import FillStage

_PACKAGES = ("torch", "transformers", "ray", "pyarrow", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """What the job held for all of its `wall_sec`, start-up and idle time included.

    Attributes:
        first_text_sec: from the start of the process to the first answered row.
    """

    wall_sec: float
    first_text_sec: float | None = None
    cpus: float
    gpus: float
    prices: Prices

    @property
    def usd(self) -> float:
        return self.prices.usd(seconds=self.wall_sec, gpus=self.gpus, cpus=self.cpus)


def build_report(
    plan: Plan,
    ledger_writer: LedgerWriter,
    occupancy: Occupancy,
    fill: FillStage | None = None,
) -> dict[str, Any]:
    """The content of `report.json`.

    Rows are those of the whole output, "opened" those of the shards this run opened; images,
    tokens, time and cost are of this run.
    """
    totals, opened = ledger_writer.ledger.totals(), ledger_writer.opened()
    where = plan.sink, ledger_writer.run_id
    stages = _stages(*where)
    images = stages.get("select", {}).get("num_images", 0)
    gpu_sec = occupancy.gpus * occupancy.wall_sec
    wall, usd = occupancy.wall_sec, occupancy.usd
    tokens = stages.get("generate", {}).get("output_tokens", 0)
    return {
        "run_id": ledger_writer.run_id,
        "input": [redact_url(url) for url in plan.config.input.input],
        "output": redact_url(plan.sink.url),
        "fingerprint": plan.identity.fingerprint,
        "fingerprint_fields": plan.identity.fields,
        "shards": num_named(plan.shards),
        "passed_over": dict(plan.passed_over),
        "members_passed_over": dict(_counted("passed_over", *where).most_common()),
        "shards_changed": [shard.ledger_id for shard in plan.work.changed],
        "rows": totals.rows,
        "captioned": totals.captions,
        "quarantined": totals.quarantined,
        "quarantined_by_code": totals.codes,
        "opened": {
            "shards": ledger_writer.num_opened,
            "rows": opened.rows,
            "quarantined": opened.quarantined,
            "quarantined_by_code": opened.codes,
        },
        "images": images,
        "wall_sec": wall,
        "first_text_sec": occupancy.first_text_sec,
        "images_per_sec": images / wall,
        "images_per_gpu_sec": images / gpu_sec if gpu_sec else None,
        "output_tokens": tokens,
        "output_tokens_per_sec": tokens / wall,
        "token_budget_asked": asked(plan.config.reduction, plan.resolved.spec.nominal_tokens),
        "visual_tokens_nominal": plan.resolved.spec.nominal_tokens,
        "visual_tokens_dense": stages.get("select", {}).get("visual_tokens_dense", 0),
        "visual_tokens_kept": stages.get("select", {}).get("visual_tokens_kept", 0),
        "flags": _in_order(_counted("flags", *where), FLAGS),
        "image_notes": _in_order(_counted("image_notes", *where), NOTES),
        "duplicates": saving(fill, stages),
        "carried_lost": stages.get("read", {}).get("carried_lost", 0),
        "stages": stages,
        "placement": plan.resolved.placement.describe(),
        "cluster": vars(plan.resolved.cluster),
        "usd": usd,
        "usd_per_1000_images": 1000 * usd / images if images else None,
        "gpu_hour_usd": occupancy.prices.gpu_hour_usd,
        "cpu_hour_usd": occupancy.prices.cpu_hour_usd,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that can change a result."""
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in _PACKAGES}


def _stages(sink: Sink, run_id: str) -> dict[str, dict[str, Any]]:
    """Sums over batches by stage, one part in memory at a time.

    `utilisation` is busy / (busy + idle) of a stage's actors. Tasks have none: Ray gives each a
    fresh worker, which knows nothing of the time before.
    """
    columns = ["stage", "worker", "peak_memory_bytes", *_SUMMED]
    sums: dict[str, _Sums] = {stage: _Sums() for stage in STAGES}
    for table in sink.read("stats", columns, run_id):
        for stage in STAGES:
            sums[stage].add(table.filter(pc.equal(table["stage"], stage)))
    return {stage: each.to_json(stage) for stage, each in sums.items() if each.batches}


def _counted(column: str, sink: Sink, run_id: str) -> Counter[str]:
    """How many texts of the run have each flag, rejected ones included; or images, notes."""
    times: Counter[str] = Counter()
    for table in sink.read("stats", [column], run_id):
        for text in table[column].drop_null().to_pylist():
            times.update(json.loads(text))
    return times


def _in_order(times: Counter[str], names: Iterable[str]) -> dict[str, int]:
    return {name: times[name] for name in names if name in times}


_SUMMED = (
    "busy_sec",
    "idle_sec",
    "num_images",
    "visual_tokens_dense",
    "visual_tokens_kept",
    "output_tokens",
    "carried_lost",
    "prefill_sec",
    "decode_sec",
    "gpu_sec",
    "cost_usd",
    "errors",
)


@dataclass
class _Sums:
    """Of one stage."""

    batches: int = 0
    peak_memory_bytes: int = 0
    workers: set[str] = field(default_factory=set)
    values: dict[str, float] = field(default_factory=dict)

    def add(self, stats: pa.Table) -> None:
        self.batches += stats.num_rows
        self.workers.update(pc.unique(stats["worker"]).to_pylist())
        self.peak_memory_bytes = max(
            self.peak_memory_bytes, pc.max(stats["peak_memory_bytes"]).as_py() or 0
        )
        for name in _SUMMED:
            if (value := pc.sum(stats[name]).as_py()) is not None:
                self.values[name] = self.values.get(name, 0) + value

    def to_json(self, stage: str) -> dict[str, Any]:
        held = self.values["busy_sec"] + self.values["idle_sec"]
        busy = self.values["busy_sec"] / held if stage in ACTOR_STAGES and held else None
        return self.values | {
            "batches": self.batches,
            "workers": len(self.workers),
            "utilisation": busy,
            "peak_memory_bytes": self.peak_memory_bytes,
        }


def summary(report: dict[str, Any]) -> str:
    """What a person wants to know first, in a dozen lines."""
    lines = [
        ("rows", _rows(report)),
        *([("passed over", told(report["passed_over"]))] if report["passed_over"] else []),
        *([("in tars", f"passed over {told(inside)}")] if (inside := _inside(report)) else []),
        ("captioned", f"{report['captioned']:,}"),
        ("quarantined", f"{report['quarantined']:,}{_codes(report['quarantined_by_code'])}"),
        *([("worth a retry", _passing(passing))] if (passing := _may_pass(report)) else []),
        ("visual tokens", kept_words(report)),
        (
            "time",
            f"{report['wall_sec']:.1f} s{_start(report)}, "
            f"{report['images_per_sec']:.2f} images/s{_gpu(report)}",
        ),
        ("text", f"{report['output_tokens']:,} tokens, {report['output_tokens_per_sec']:.1f} /s"),
        *([("flags", _listed(report["flags"]))] if report["flags"] else []),
        *([("duplicates", _duplicates(report["duplicates"]))] if report["duplicates"] else []),
        *([("carried", _lost(report["carried_lost"]))] if report["carried_lost"] else []),
        *([("image notes", _listed(report["image_notes"]))] if report["image_notes"] else []),
        ("stages", _utilisation(report["stages"])),
        ("cost", _cost(report)),
        ("fingerprint", report["fingerprint"]),
        ("output", report["output"]),
    ]
    return "\n".join(f"{name:>14}  {text}" for name, text in lines)


def _inside(report: dict[str, Any]) -> dict[str, int]:
    """Members of tars that are passed over, but for hidden ones, as programs leave them there."""
    return {reason: n for reason, n in report["members_passed_over"].items() if reason != HIDDEN}


def _rows(report: dict[str, Any]) -> str:
    opened = report["opened"]
    all_of_it = f"{report['rows']:,} from {counted(report['shards'], 'shard')}"
    if opened["rows"] == report["rows"]:
        return all_of_it
    return f"{all_of_it}, {opened['rows']:,} of them in the {opened['shards']:,} opened now"


def _may_pass(report: dict[str, Any]) -> int:
    """Quarantined rows whose failure may be gone at the next try."""
    return sum(n for code, n in report["quarantined_by_code"].items() if code in PASSING_CODES)


def _passing(count: int) -> str:
    return f"{counted(count, 'quarantined row')}: run again with --retry-quarantined"


def _codes(codes: dict[str, int]) -> str:
    return f" ({_listed(codes)})" if codes else ""


def _listed(times: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in times.items())


def _start(report: dict[str, Any]) -> str:
    first = report["first_text_sec"]
    return "" if first is None else f" ({first:.1f} s to the first text)"


def _duplicates(found: dict[str, Any]) -> str:
    near = f", {found['near']:,} of them near ones" if found["near"] else ""
    bad = f", {found['quarantined']:,} quarantined as their first" if found["quarantined"] else ""
    seconds, usd = found["saved_device_sec_estimated"], found["saved_usd_estimated"]
    saved = (
        ""
        if seconds is None
        else f"; saved about {seconds:,.1f} s of the model, USD {usd:.4f} (estimated)"
    )
    return f"{found['copied']:,} captions copied{near}{bad}{saved}"


def _lost(count: int) -> str:
    return f"{count:,} values are null: not of their column's type, or over --max-carried-bytes"


def _gpu(report: dict[str, Any]) -> str:
    rate = report["images_per_gpu_sec"]
    return f", {rate:.2f} images per GPU-second" if rate else ""


def _utilisation(stages: dict[str, dict[str, Any]]) -> str:
    """Busy seconds; of actors also the share of the time that they were there."""
    shares = [
        f"{name} {stage['busy_sec']:.1f} s"
        + (f" ({stage['utilisation']:.0%} of its actors' time)" if stage["utilisation"] else "")
        for name, stage in stages.items()
    ]
    return f"busy: {', '.join(shares)}"


def _cost(report: dict[str, Any]) -> str:
    per_1000 = report["usd_per_1000_images"]
    each = "-" if per_1000 is None else f"{per_1000:.4f}"
    gpu = f"GPU-hour {report['gpu_hour_usd']:.2f}, " if report["cluster"]["gpus"] else ""
    prices = f"{gpu}CPU-hour {report['cpu_hour_usd']:.3f}"
    return f"USD {each} per 1000 images, USD {report['usd']:.4f} in all ({prices})"
