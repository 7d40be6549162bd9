"""Model stages that cost little: texts follow from the request, so that every run gives the same.

`CHAOS_ANSWERED` names a folder where each batch leaves its number of rows: what was computed, told
by the stage itself and not by what the job says of itself. `CHAOS_SEC_PER_ROW` is how long a row
takes: with nothing, rows are answered faster than a busy machine's driver takes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hired_core.backends.base import Capacity
from hired_core.backends.device_queue import DeviceQueue
from hired_core.language.model import Completion, Request
from pipeline.resources.resolved import Resolved
from pipeline.rows.row import is_active, to_table
from pipeline.rows.schemas import SELECTED_SCHEMA
from pipeline.stages.context import StageContext
from pipeline.stages.generate import GenerateStage

ANSWERED = "CHAOS_ANSWERED"
SEC_PER_ROW = "CHAOS_SEC_PER_ROW"


class Digests:
    """A `Backend` that answers with a digest of prompt, image and number of kept tokens.

    Not of the features: their last bits may follow from what shares the batch.
    """

    def __init__(self, log: AnswerLog, *, as_json: bool) -> None:
        self._log = log
        self._as_json = as_json
        self._sec_per_row = float(os.environ.get(SEC_PER_ROW, "0"))
        self._turn = threading.Lock()

    capacity = Capacity(num_slots=None, total_bytes=None, max_length=2**30, rotary_length=2**30)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        with self._turn:  # As on a device, one batch after the other.
            time.sleep(self._sec_per_row * len(requests))
        self._log.add(len(requests))
        texts = [_text(request) for request in requests]
        if self._as_json:
            texts = [json.dumps({"mark": text}) for text in texts]
        return [Completion(text=text, token_ids=[0], finish_reason="stop") for text in texts]


class StandInGenerate(GenerateStage):
    """All is real, down to the prompt's tokens; only the decoder is replaced."""

    def __init__(
        self, context: StageContext, resolved: Resolved, queue: DeviceQueue | None = None
    ) -> None:
        super().__init__(context, resolved, queue)
        log = answer_log(os.environ[ANSWERED], resolved.config.output.output, context.run_id)
        self._backend = Digests(log, as_json=resolved.config.generation.form is not None)


class StandInSelect:
    """Keeps one token of zeros per image, where only the pipeline around the model matters."""

    name = "select"

    def __init__(
        self, context: StageContext, resolved: Resolved, queue: DeviceQueue | None = None
    ) -> None:
        width = resolved.spec.feature_width
        self._columns = {
            "visual_tokens_dense": 1,
            "visual_tokens_kept": 1,
            "partition_budgets": [1],
            "features": np.zeros(width, dtype=np.float16).tobytes(),
            "projected": False,
            "place": np.zeros(1, dtype=np.int32).tobytes(),
        }

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for row in filter(is_active, rows):
            row.update(self._columns)
        return to_table(rows, SELECTED_SCHEMA)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One batch."""

    run_id: str
    unix_sec: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class AnswerLog:
    """Which rows were answered when, by all runs of a job."""

    file: Path
    run_id: str = ""

    def add(self, num_rows: int) -> None:
        """One line; short appends of several processes do not mix."""
        with self.file.open("a") as stream:
            stream.write(f"{self.run_id} {time.time()} {num_rows}\n")

    def batches(self) -> list[Answered]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        fields = [line.split() for line in lines]
        return [Answered(run_id=r, unix_sec=float(t), rows=int(n)) for r, t, n in fields]

    def by_run(self) -> Counter[str]:
        """Rows answered, by run id."""
        rows: Counter[str] = Counter()
        for batch in self.batches():
            rows[batch.run_id] += batch.rows
        return rows


def answer_log(folder: Path | str, output: str, run_id: str = "") -> AnswerLog:
    """The log of the job with this output."""
    name = hashlib.sha256(output.encode()).hexdigest()[:16]
    return AnswerLog(file=Path(folder) / name, run_id=run_id)


def _text(request: Request) -> str:
    digest = hashlib.sha256()
    digest.update(np.asarray(request.before + request.after, dtype=np.int64).tobytes())
    digest.update(f"{request.features.shape[0]} {request.seed}".encode())
    return digest.hexdigest()[:16]
