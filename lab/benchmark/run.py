"""A whole run: from options to tables on stdout and files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hired_core.backends.base import GIB
from lab.benchmark import parts
from lab.benchmark.contestants.registry import Entry, batch_sizes, chosen, end_to_end
from lab.benchmark.contestants.subject import Subject, prepared
from lab.benchmark.images import make_images
from lab.benchmark.measurements.decisions import decisions
from lab.benchmark.measurements.memory import memory_part
from lab.benchmark.options import Options
from lab.benchmark.roofline import bounds
from lab.benchmark.tables import (
    contest_table,
    decision_table,
    memory_table,
    roofline_table,
    stage_table,
)
from lab.environment import environment
from lab.tables import Table


def run(options: Options, *, samples: Path) -> str:
    """Runs all parts that were asked for, writes raw figures and tables, and returns the tables.

    Args:
        samples: folder of the shipped samples, which the shipped model is measured on.
    """
    device = torch.device(options.setting.device)
    _cap_memory(options.memory_cap_gib, device)
    with prepared(options.setting) as setting:
        report = Report(options, environment(device))
        _run_parts(options, Subject(setting), report, samples)
    tables = report.tables()
    options.output.with_suffix(".md").write_text(
        "\n\n".join(table.markdown() for table in tables) + "\n", encoding="utf-8"
    )
    return "\n\n".join(table.text() for table in tables)


def _run_parts(options: Options, subject: Subject, report: Report, samples: Path) -> None:
    for part in sorted({"stages", "roofline"} & set(options.parts)):
        subject.require_squares(part)
    shown = _shown(options, samples)
    entries = chosen(end_to_end(options.budgets, options.methods), options.contestants)
    tried = chosen(
        batch_sizes(options.batch_sizes, options.budgets),
        options.contestants if "batches" in options.parts else (),
    )
    for part, who in (("end-to-end", entries), ("batches", tried)):
        if part in options.parts:
            _contest(part, options, subject, who, shown, report)
    if "end-to-end" in options.parts and options.setting.model == "embedded":
        _add_truth(subject, entries, options.num_images, report, samples)
    if "stages" in options.parts:
        report.set("stages", parts.stages(subject, shown, repeats=options.stage_repeats))
    if "memory" in options.parts:
        report.set("memory", {"limits": memory_part(subject.setting, shown[:8])})
    if "decisions" in options.parts:
        report.set("decisions", decisions(subject.device, repeats=options.repeats))
    if "roofline" in options.parts:
        ran = report.part("end-to-end").get("summary", {})
        found = {entry: ran[entry.name] for entry in entries if entry.name in ran}
        report.set("roofline", bounds.roofline(subject, shown, found))


def _contest(
    part: str,
    options: Options,
    subject: Subject,
    entries: Sequence[Entry],
    images: Sequence[bytes],
    report: Report,
) -> None:
    found = parts.contest(
        subject,
        entries,
        images,
        repeats=options.repeats,
        before=report.part(part),
        save=lambda so_far: report.set(part, so_far),
    )
    report.set(part, found)


def _shown(options: Options, samples: Path) -> list[bytes]:
    if options.setting.model != "embedded":
        return make_images(options.num_images, width=options.side, height=options.side)
    from lab.benchmark.truth import samples_in

    return [sample.image for sample in samples_in(samples, options.num_images)]


def _add_truth(
    subject: Subject, entries: Sequence[Entry], count: int, report: Report, samples: Path
) -> None:
    from lab.benchmark.truth import f1_of, samples_in

    known, found = samples_in(samples, count), {}
    for entry in entries:
        contestant = entry.build(subject)
        contestant.open()
        found[entry.name] = f1_of(contestant, known)
        contestant.close()
    report.set("end-to-end", report.part("end-to-end") | {"f1": found})


def _cap_memory(cap_gib: float | None, device: torch.device) -> None:
    """Makes a GPU behave like one of `cap_gib`."""
    if cap_gib is None:
        return
    if device.type != "cuda":
        raise ValueError("--memory-cap-gib caps a GPU, and this run is on the CPU")
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, cap_gib * GIB / total))


class Report:
    """Raw figures of all parts so far, in one JSON file that is whole at any time."""

    def __init__(self, options: Options, found: dict[str, Any]) -> None:
        self._path = options.output
        setting = asdict(options.setting) | {
            "num_images": options.num_images,
            "side": options.side,
            "memory_cap_gib": options.memory_cap_gib,
        }
        before = self._before(setting) if options.resume else {}
        self._content: dict[str, Any] = {"setting": setting, "environment": found, **before}

    def part(self, name: str) -> dict[str, Any]:
        """{} if it has not been run."""
        part: dict[str, Any] = self._content.get(name, {})
        return part

    def set(self, name: str, part: dict[str, Any]) -> None:
        self._content[name] = part
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(self._path.name + ".part")
        aside.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, self._path)

    def _before(self, setting: dict[str, Any]) -> dict[str, Any]:
        """Earlier contests of the same setting.

        Raises:
            ValueError: if the file is of another setting.
        """
        if not self._path.is_file():
            return {}
        content = json.loads(self._path.read_text(encoding="utf-8"))
        if content["setting"] != setting:
            raise ValueError(f"{self._path} is of another setting: {content['setting']}")
        return {name: content[name] for name in ("end-to-end", "batches") if name in content}

    def tables(self) -> list[Table]:
        """Those of the parts that were run."""
        setting, found = self._content["setting"], []
        of = f"{setting['model']}, {setting['num_images']} images, {setting['device']}"
        for name in ("end-to-end", "batches"):
            if part := self.part(name):
                found.append(contest_table(f"{name}: {of}", part))
        for name, stage in self.part("stages").items():
            found.append(stage_table(f"{name} stage{_note(stage)}", stage))
        if memory := self.part("memory"):
            found.append(memory_table("peak memory under a limit", memory["limits"]))
        if chosen := self.part("decisions"):
            found.append(decision_table(chosen))
        if roofline := self.part("roofline"):
            found.append(roofline_table("the least possible", roofline["contestants"]))
        return found


def _note(stage: dict[str, Any]) -> str:
    share = stage.get("selection_share")
    if share is None:
        return ""
    beside = f"CLS rows, scores and selection: {share['median']:.1%} of ours"
    return f" of {stage['num_images']} images; {beside}"
