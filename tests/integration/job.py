"""Runs the real entry point in this process, on the cluster that is up, and reads its output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.job.session import main
from pipeline.parts.sink import Sink
from pipeline.settings.config import CaptionConfig, QuestionConfig


@dataclass(frozen=True, kw_only=True)
class Result:
    """Exit code and stored output of a job."""

    exit_code: int
    captions: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    stats: list[dict[str, Any]]
    report: dict[str, Any]

    def texts(self) -> dict[str, str]:
        return {row["image_id"]: row["text"] for row in self.captions}

    def ends(self) -> dict[str, str]:
        """Where each row ended: "ok", or its error code."""
        bad = {row["image_id"]: row["error_code"] for row in self.quarantine}
        return {row["image_id"]: "ok" for row in self.captions} | bad


def caption(inputs: list[str], output: Path | str, *flags: str, **options: Any) -> Result:
    """`jobs/caption.py` on `inputs`."""
    return _run(CaptionConfig, inputs, str(output), flags, options)


def answer(inputs: list[str], output: Path | str, *flags: str, **options: Any) -> Result:
    """`jobs/vqa.py` on `inputs`."""
    return _run(QuestionConfig, inputs, str(output), flags, options)


def _run(
    kind: type[Any], inputs: list[str], output: str, flags: tuple[str, ...], options: dict[str, Any]
) -> Result:
    argv = ["--input", *inputs, "--output", output, "--max-new-tokens", "8", "--no-progress"]
    if options:
        argv += ["--storage-options", json.dumps(options)]
    code = main([*argv, *flags], kind, "")
    sink = Sink(url=output, storage_options=options)
    tables = {k: list(sink.read(k)) for k in ("captions", "quarantine", "stats")}
    rows = {k: [row for table in found for row in table.to_pylist()] for k, found in tables.items()}
    return Result(exit_code=code, report=sink.get_json("report.json") or {}, **rows)
