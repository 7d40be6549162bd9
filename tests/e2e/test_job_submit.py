"""`ray job submit` against a running head with token authentication."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lab.demo import SAMPLES
from tests.chaos.accounting import problems
from tests.chaos.corpus import write_corpus
from tests.chaos.storage import Folder
from tests.e2e.ray_head import BIN, Head, ray_head

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Not below pytest's own folder: paths of Unix sockets must stay under 108 characters.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        ray_head(Path(folder)) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files alone, so that nothing of this checkout's environment helps."""
    folder = tmp_path_factory.mktemp("work")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return folder


def submit(
    head: Head,
    working_dir: Path,
    *arguments: str,
    options: tuple[str, ...] = (),
    **environment: str,
) -> tuple[int, str]:
    """Exit code and output of `ray job submit --working-dir . -- python jobs/caption.py ...`."""
    job = ["--", "python", "jobs/caption.py", *arguments]
    return ray_job(head, working_dir, "submit", "--working-dir", ".", *options, *job, **environment)


def ray_job(
    head: Head, cwd: Path, verb: str, *arguments: str, **environment: str
) -> tuple[int, str]:
    """Exit code and output of `ray job VERB ...`."""
    done = subprocess.run(
        [BIN / "ray", "job", verb, "--address", head.url, *arguments],
        cwd=cwd,
        env=head.environment | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_submitted_job_captions(head: Head, working_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions"
    source = str(SAMPLES / "webdataset" / "samples-00.tar")
    code, log = submit(
        head, working_dir, "--input", source, "--output", str(output), "--budget", "0.2"
    )
    assert code == 0, log
    assert "USD" in log
    rows = sum(
        pq.read_table(path).num_rows
        for kind in ("captions", "quarantine")
        for path in (output / kind).glob("*.parquet")
    )
    with tarfile.open(source) as tar:
        assert rows == len({name.partition(".")[0] for name in tar.getnames()})


def test_bad_configuration_fails_the_submitted_job(head: Head, working_dir: Path) -> None:
    code, log = submit(head, working_dir, "--input", "nothing", "--output", "x", "--bugdet", "1")
    assert code != 0
    assert "did you mean --budget" in log


def test_without_the_token_nothing_is_submitted(head: Head, working_dir: Path) -> None:
    code, log = submit(head, working_dir, "--help", RAY_AUTH_TOKEN="0" * 64)
    assert code != 0
    assert "--budget" not in log


def test_stopped_and_submitted_again_it_completes(
    head: Head, working_dir: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(str(tmp_path / "in"), "webdataset", num_rows=400, num_shards=12, seed=11)
    output = tmp_path / "captions"
    job = ["--input", corpus.url, "--output", str(output), "--rows-per-part", "16"]
    job += ["--max-new-tokens", "8"]
    options = ("--no-wait", "--submission-id", "stopped")
    code, log = submit(head, working_dir, *job, options=options)
    assert code == 0, log
    wait_for_parts(output, deadline_sec=240)
    _, log = ray_job(head, working_dir, "stop", "stopped")
    assert "was stopped" in log  # else it ended by itself, and nothing was tested
    assert problems(Folder(url=str(output)), corpus)

    code, log = submit(head, working_dir, *job)
    assert code == 0, log
    assert problems(Folder(url=str(output)), corpus) == []


def wait_for_parts(output: Path, *, deadline_sec: float) -> None:
    """Until the first captions are stored."""
    deadline = time.monotonic() + deadline_sec
    while not any((output / "captions").glob("*.parquet")):
        assert time.monotonic() < deadline, f"no part after {deadline_sec} s"
        time.sleep(0.1)
