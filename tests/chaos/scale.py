"""Time per row and driver memory as the input grows: `python -m tests.chaos.scale --rows ...`.

Vision and language are replaced, so that what is measured is the pipeline around them: reading,
decoding, moving rows, writing, keeping the ledger.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import re
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import ray

from tests.chaos.accounting import problems
from tests.chaos.attempts import Job
from tests.chaos.corpus import write_corpus
from tests.chaos.session import Session, session
from tests.chaos.stand_in import answer_log
from tests.chaos.storage import Folder

ROWS_PER_SHARD = 200
WARM_UP_ROWS = 400
SAMPLE_SEC = 0.2


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One undisturbed run.

    Attributes:
        steady_ms_per_row: between the first and the last row answered.
        finish_sec: from the last row answered to the end of the driver.
    """

    rows: int
    shards: int
    wall_sec: float
    overall_ms_per_row: float
    steady_ms_per_row: float
    start_sec: float
    finish_sec: float
    driver_peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1000,10000,100000", help="sizes, with commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("out/scale.json"))
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with session(0, options.seed) as series:
        measure(series, WARM_UP_ROWS)
        measures = []
        for size in map(int, options.rows.split(",")):
            measures.append(measure(series, size))
            print(measures[-1], flush=True)
    versions = {"python": platform.python_version(), "ray": ray.__version__}
    environment = {"cpus": os.cpu_count(), "versions": versions}
    content = {"environment": environment, "measures": [asdict(m) for m in measures]}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def measure(series: Session, num_rows: int) -> Measure:
    """Runs the job over a corpus of this size and checks its output.

    Raises:
        RuntimeError: if the job fails or its rows do not add up.
    """
    job = _job(series, num_rows)
    with job.log.open("a") as log:
        driver = job.start(series.cluster, log)
        try:
            watched = _watch(job, driver)
        finally:
            driver.kill()  # had it ended, nothing happens
    wrong = problems(job.output, job.corpus)
    if wrong:
        raise RuntimeError(f"{num_rows} rows: {'; '.join(wrong)}")
    return watched


def _job(series: Session, num_rows: int) -> Job:
    corpus = write_corpus(
        str(series.folder / f"corpus-{num_rows}"),
        "parquet",
        num_rows=num_rows,
        num_shards=_num_shards(num_rows),
        seed=series.seed,
        tiny=True,
    )
    output = str(series.folder / f"scale-{num_rows}")
    return Job(
        corpus=corpus,
        output=Folder(url=output),
        flags=(),
        answered=answer_log(series.folder / "answered", output),
        log=series.folder / f"scale-{num_rows}.log",
        limit_sec=0,
        stand_in="model",
    )


def _watch(job: Job, driver: subprocess.Popen[str]) -> Measure:
    started, peak_mib = time.time(), 0.0
    while True:
        try:
            code = driver.wait(timeout=SAMPLE_SEC)
            break
        except subprocess.TimeoutExpired:
            peak_mib = max(peak_mib, _peak_mib(driver.pid))
    ended = time.time()
    if code:
        raise RuntimeError(f"exit code {code}: {job.log.read_text()[-2000:]}")
    batches = sorted(job.answered.batches(), key=lambda batch: batch.unix_sec)
    first, last = batches[0], batches[-1]
    rows = sum(batch.rows for batch in batches)
    steady_sec = (last.unix_sec - first.unix_sec) / max(1, rows - first.rows)
    return Measure(
        rows=len(job.corpus.ends),
        shards=_num_shards(len(job.corpus.ends)),
        wall_sec=round(ended - started, 1),
        overall_ms_per_row=round(1000 * (ended - started) / rows, 3),
        steady_ms_per_row=round(1000 * steady_sec, 3),
        start_sec=round(first.unix_sec - started, 1),
        finish_sec=round(ended - last.unix_sec, 1),
        driver_peak_mib=round(peak_mib, 1),
    )


def _num_shards(num_rows: int) -> int:
    return 2 + num_rows // ROWS_PER_SHARD


def _peak_mib(pid: int) -> float:
    """Largest resident size so far; 0 once the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
