"""All that is read of one output, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.report.asked import ReportOptions
from pipeline.report.reading.parts_read import Parts
from pipeline.report.reading.refused import Quarantine, look_at_quarantine
from pipeline.report.reading.runs import Statistics, look_at_statistics
from pipeline.report.reading.slow_shards import ShardTime, slowest
from pipeline.report.reading.subject import Subject
from pipeline.report.reading.texts import Captions, look_at_captions

__all__ = ["Findings", "look_at"]

_SLOWEST: Final = 10
_MOST_REPORTS: Final = 60
"""The last ones; cost over more runs is told by what their batches took."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Of one output."""

    subject: Subject
    parts: Parts
    captions: Captions
    quarantine: Quarantine
    statistics: Statistics
    slow: list[ShardTime]

    @property
    def rows(self) -> int:
        return self.captions.rows + self.quarantine.rows

    @property
    def made_with(self) -> tuple[Any, Any, Any]:
        """Model, method and budget of most captions; of an output without any, of its settings."""
        if self.captions.made_with:
            ((model, method, budget), _), *_ = self.captions.made_with.most_common(1)
            return model, method, budget
        fields = self.subject.fields
        return fields.get("model"), fields.get("method"), fields.get("token_budget")

    def notes(self) -> list[str]:
        """What a reader has to know before the figures."""
        ledger, unfinished = self.subject.ledger.totals(), self.subject.unfinished()
        told = []
        if self.subject.under_way:
            told.append("A run holds this output, or was killed: figures are of what is stored.")
        elif not self.subject.report:
            told.append("No run has ended here: there is no report.json.")
        if unfinished:
            told.append(f"{unfinished:,} shards are begun and not finished.")
        if self.rows != ledger.rows and not self.subject.under_way:
            told.append(
                f"The ledger names {ledger.rows:,} rows, the parts hold {self.rows:,}: "
                "hired verify tells why."
            )
        for path, why in list(self.parts.unreadable.items())[:5]:
            told.append(f"{path} does not read ({why}); hired verify --repair sets it aside.")
        if self.parts.gone:
            told.append(f"{len(self.parts.gone)} parts went away while they were read.")
        return told


def look_at(subject: Subject, options: ReportOptions) -> Findings:
    """Reads an output once through; memory does not grow with its rows."""
    parts = Parts(subject.sink)
    seed, few = options.seed, options.few
    captions = look_at_captions(parts, examples=options.examples, few=few, seed=seed)
    quarantine = look_at_quarantine(parts, few=few, seed=seed)
    statistics = look_at_statistics(parts, _reports(subject))
    slow = slowest(subject.ledger.records(), statistics.busy_by_part, _SLOWEST)
    return Findings(
        subject=subject,
        parts=parts,
        captions=captions,
        quarantine=quarantine,
        statistics=statistics,
        slow=slow,
    )


def _reports(subject: Subject) -> dict[str, Mapping[str, Any]]:
    """What runs said of themselves, by run id; of versions that kept but the last, that one."""
    found = {str(subject.report.get("run_id")): subject.report} if subject.report else {}
    return found | {
        name.rpartition("/")[2].removesuffix(".json"): report
        for name in subject.sink.reports()[-_MOST_REPORTS:]
        if (report := subject.sink.get_json(name))
    }
