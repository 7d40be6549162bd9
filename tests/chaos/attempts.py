"""A job run, killed and run again until it is done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.chaos.cluster import ROOT, TwoNodes
from tests.chaos.corpus import Corpus
from tests.chaos.killers import Kill, Progress
from tests.chaos.lost_work import LostWork, lost_work, stored_rows
from tests.chaos.stand_in import AnswerLog
from tests.chaos.storage import Folder

POLL_SEC = 0.05
MAX_ATTEMPTS = 6
DRIVER_END_SEC = 60.0
"""A driver that is told to end has ended by then."""
RAY_TERMINATED = 15
"""How Ray's handler of SIGTERM ends a driver, once it is installed; before, it aborts."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The same command every time.

    Attributes:
        answered: what the stand-in answered, in all attempts.
        limit_sec: longest that one attempt may take.
    """

    corpus: Corpus
    output: Folder
    flags: tuple[str, ...]
    answered: AnswerLog
    log: Path
    limit_sec: float
    stand_in: str = "language"

    @property
    def num_asked(self) -> int:
        """Rows that are answered in a run that nobody disturbs."""
        copies = "--duplicates" in self.flags
        return self.corpus.num_distinct if copies else self.corpus.num_ok

    def start(self, cluster: TwoNodes, log: IO[str]) -> subprocess.Popen[str]:
        """The driver, alone in a process group."""
        command = [sys.executable, "-m", "tests.chaos.job", self.stand_in]
        inputs = ["--input", self.corpus.url, "--output", self.output.url]
        return subprocess.Popen(
            [*command, *inputs, *self.flags],
            cwd=ROOT,
            env=dict(cluster.environment),
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )

    def progress(self) -> Progress:
        return Progress(
            seconds=time.monotonic(),
            rows=self.answered.by_run().total(),
            parts=len(self.output.names("captions")),
            merging=self.output.is_merging(),
        )


@dataclass(kw_only=True)
class Outcome:
    """What became of a job.

    Attributes:
        struck: kills that found their victim, with what was hit.
        unused: kills whose moment did not come.
        exit_codes: of the attempts, in order.
        quiet: whether nothing was struck in the last attempt.
        answered: rows by run id, of runs that the last attempt began.
        lost: of attempts in which the driver alone was struck, which cost what was not stored.
    """

    struck: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    quiet: bool = True
    answered: dict[str, int] = field(default_factory=dict)
    lost: list[LostWork] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run_until_done(job: Job, cluster: TwoNodes, kills: tuple[Kill, ...]) -> Outcome:
    """Attempt after attempt, with the kills as their moments come, until exit code 0."""
    outcome, left = Outcome(), list(kills)
    while len(outcome.exit_codes) < MAX_ATTEMPTS:
        started, hits, before = time.monotonic(), len(outcome.struck), job.answered.by_run()
        struck_at: list[float] = []
        code = _attempt(job, cluster, left, outcome, struck_at)
        outcome.exit_codes.append(code)
        outcome.seconds.append(round(time.monotonic() - started, 1))
        outcome.quiet = len(outcome.struck) == hits
        rows = job.answered.by_run()
        outcome.answered = {run_id: rows[run_id] for run_id in rows.keys() - before.keys()}
        only_driver = len(struck_at) == 1 and outcome.struck[-1].startswith("driver")
        if code != 0 and only_driver and outcome.answered:
            outcome.lost.append(_lost(job, max(outcome.answered), struck_at[0]))
        if code == 0 or outcome.problems:
            break
        by_signal = code < 0 or code == RAY_TERMINATED
        if code != 1 and (outcome.quiet or not by_signal):
            outcome.problems.append(f"exit code {code} of attempt {len(outcome.exit_codes)}")
            break
    else:
        outcome.problems.append(f"not done after {MAX_ATTEMPTS} attempts")
    outcome.unused = [str(kill) for kill in left]
    return outcome


def _lost(job: Job, run_id: str, killed_at: float) -> LostWork:
    batches = [batch for batch in job.answered.batches() if batch.run_id == run_id]
    return lost_work(batches, stored_rows(job.output, run_id), killed_at)


def _attempt(
    job: Job, cluster: TwoNodes, left: list[Kill], outcome: Outcome, struck_at: list[float]
) -> int:
    """Exit code of one attempt; takes the kills that strike off `left`, and notes Unix times."""
    with job.log.open("a") as log:
        driver = job.start(cluster, log)
        try:
            return _under_fire(job, driver, cluster, left, outcome, struck_at)
        finally:
            driver.kill()  # had it ended, nothing happens
            driver.wait()


def _under_fire(
    job: Job,
    driver: subprocess.Popen[str],
    cluster: TwoNodes,
    left: list[Kill],
    outcome: Outcome,
    struck_at: list[float],
) -> int:
    since = job.progress()
    deadline = since.seconds + job.limit_sec
    while (code := _poll(driver)) is None:
        now = job.progress()
        if now.seconds > deadline:
            outcome.problems.append("attempt still running; struck so far: " + str(outcome.struck))
            return -signal.SIGKILL
        due = left and left[0].moment.due(since, now, job.num_asked)
        if due and (hit := left[0].strike(cluster, driver.pid)):
            struck_at.append(time.time())
            kill, since = left.pop(0), job.progress()
            outcome.struck.append(f"{kill}: {hit}")
            if kill.victim.startswith("driver"):
                deadline = min(deadline, since.seconds + DRIVER_END_SEC)
    return code


def _poll(process: subprocess.Popen[str]) -> int | None:
    try:
        return process.wait(timeout=POLL_SEC)
    except subprocess.TimeoutExpired:
        return None
