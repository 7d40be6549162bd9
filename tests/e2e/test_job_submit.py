"""`ray job submit` against a running head with token authentication."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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


def submit(head: Head, working_dir: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of `ray job submit --working-dir . -- python jobs/caption.py ...`."""
    command = [BIN / "ray", "job", "submit", "--address", head.url, "--working-dir", "."]
    done = subprocess.run(
        [*command, "--", "python", "jobs/caption.py", *arguments],
        cwd=working_dir,
        env=head.environment | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_submitted_job_captions(head: Head, working_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions"
    source = str(ROOT / "samples" / "webdataset" / "samples-00.tar")
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
