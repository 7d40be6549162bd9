"""The whole job with `--backend vllm`, through Ray: texts, plan, and an engine that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from tests.support.bad_images import encode
from tests.support.halves import picture
from tests.support.processes import descendants

ROOT = Path(__file__).parents[2]
NUM_IMAGES = 24
FLAGS = ["--method", "hired", "--budget", "0.2", "--max-new-tokens", "16", "--batch-size", "4"]
LIMIT_SEC = 900
ENGINE = "VLLM::EngineCore"
ACTOR_WITH_ROWS = "ray::MapWorker(MapBatches(ModelStages)).submit"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(NUM_IMAGES):
        (folder / f"{i:02d}.png").write_bytes(encode(picture(180 + 7 * i, 300 - 3 * i), "PNG"))
    return folder


class Job:
    """`jobs/caption.py` as a process of its own."""

    def __init__(self, images: Path, output: Path, *flags: str) -> None:
        command = [sys.executable, "jobs/caption.py", "--input", str(images)]
        command += ["--output", str(output), *FLAGS, *flags]
        self.output = output
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait(self) -> tuple[int, str]:
        told, _ = self.process.communicate(timeout=LIMIT_SEC)
        return self.process.returncode, told

    def texts(self) -> dict[str, str]:
        rows = ds.dataset(str(self.output / "captions"), format="parquet").to_table().to_pylist()
        assert len(rows) == len({row["image_id"] for row in rows})
        return {row["image_id"]: row["text"] for row in rows}


@pytest.fixture(scope="module")
def expected(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `slots` says."""
    job = Job(images, tmp_path_factory.mktemp("slots") / "out")
    code, told = job.wait()
    assert code == EXIT_DONE, told
    return job.texts()


def engines_of(job: Job) -> Future[set[int]]:
    """Every engine that a job starts; the first is killed as soon as its actor has rows."""

    def kill_first() -> set[int]:
        seen: set[int] = set()
        killed = False
        while job.process.poll() is None:
            titles = descendants(job.process.pid)
            seen |= {process for process, title in titles.items() if title == ENGINE}
            has_rows = any(title.startswith(ACTOR_WITH_ROWS) for title in titles.values())
            if seen and has_rows and not killed:
                os.kill(min(seen), signal.SIGKILL)
                killed = True
            time.sleep(0.05)
        return seen

    return ThreadPoolExecutor(1).submit(kill_first)


def check_texts(found: dict[str, str], expected: dict[str, str]) -> None:
    """A near-tie may part one text in twenty-four."""
    assert found.keys() == expected.keys()
    assert sum(found[key] != expected[key] for key in expected) <= 1


@pytest.mark.timeout(2 * LIMIT_SEC)
def test_the_job(images: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    job = Job(images, tmp_path / "out", "--backend", "vllm", "--memory-limit-gib", "1")
    code, told = job.wait()
    assert code == EXIT_DONE, told
    check_texts(job.texts(), expected)
    # Another backend's rows are the same configuration: nothing is left to do.
    again = Job(images, tmp_path / "out")
    code, told = again.wait()
    assert code == EXIT_DONE and "refused" not in told, told
    assert again.texts() == job.texts()


@pytest.mark.timeout(2 * LIMIT_SEC)
def test_a_killed_engine_ends_its_actor_and_nothing_is_lost(
    images: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    job = Job(images, tmp_path / "out", "--backend", "vllm", "--memory-limit-gib", "1")
    engines = engines_of(job)
    code, told = job.wait()
    assert code == EXIT_DONE, told
    assert len(engines.result()) == 2, "the first was killed, and a second one did its rows"
    check_texts(job.texts(), expected)
    assert not (tmp_path / "out" / "quarantine").exists()


def test_a_dry_run_tells_the_plan_and_what_is_refused(images: Path, tmp_path: Path) -> None:
    code, told = Job(images, tmp_path / "out", "--backend", "vllm", "--dry-run").wait()
    assert code == 0 and "GiB: vllm with weights" in told
    for flags, line in (
        (["--repetition-penalty", "1.1"], "backend: vllm does not generate with"),
        (["--method", "distinct"], "add --positions compact"),
        (["--method", "fastv"], "cannot drop tokens between layers"),
        (["--tensor-parallel", "2"], "tensor_parallel: 2 GPUs would be"),
    ):
        job = Job(images, tmp_path / "out", "--backend", "vllm", "--dry-run", *flags)
        code, told = job.wait()
        assert code == EXIT_BAD_CONFIG and line in told, told
