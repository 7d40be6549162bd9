"""Entry points: exit codes, and what of an error reaches the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ray.exceptions import AuthenticationError, RayTaskError

from pipeline.job import run, session
from pipeline.job.plan import refuse_lost_output
from pipeline.rows.errors import ConfigError, InputError, JobError, ReconcileError, StorageError
from pipeline.settings.config import CaptionConfig, JobConfig


def start(monkeypatch: pytest.MonkeyPatch, outcome: BaseException | int) -> int:
    """Runs `main` with a job that ends in `outcome`; no Ray."""

    def run_job(config: JobConfig, **_: object) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(session, "connect", lambda _: None)
    monkeypatch.setattr(run, "run_job", run_job)
    return session.main(["--input", "a", "--output", "o"], CaptionConfig, "")


@pytest.mark.parametrize("code", [0, 3])
def test_the_jobs_own_code_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    assert start(monkeypatch, code) == code
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("budget: no"), 2),
        (InputError("nothing matches"), 2),
        (StorageError("disk full"), 1),
        (ReconcileError("rows do not add up"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_errors_are_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    assert start(monkeypatch, error) == code
    told = f"error: {error}" if str(error) else "interrupted"
    assert capsys.readouterr().err == f"{told}\n"


def out_of_a_stage(error: Exception) -> RayTaskError:
    """As Ray hands an exception on: the text of its traceback."""
    name = f"{type(error).__module__}.{type(error).__name__}"
    trace = f'ray::Map()\n  File "x.py", line 1\n    raise it\n{name}: {error}'
    return RayTaskError("Map", trace, error)


@pytest.mark.parametrize(
    ("error", "code"), [(StorageError("cannot write part-1"), 1), (ConfigError("model: no"), 2)]
)
def test_our_own_errors_out_of_a_stage_are_one_line_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: JobError,
    code: int,
) -> None:
    assert start(monkeypatch, out_of_a_stage(error)) == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_other_errors_out_of_a_stage_show_their_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(monkeypatch, out_of_a_stage(ZeroDivisionError("by zero"))) == 1
    trace = capsys.readouterr().err
    assert "ZeroDivisionError: by zero" in trace
    assert trace.endswith("error: a stage failed; what it raised stands above\n")


def test_a_dry_run_starts_no_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "connect", lambda _: pytest.fail("connected"))
    monkeypatch.setattr(run, "run_job", lambda _: pytest.fail("ran"))
    (tmp_path / "a.png").write_bytes(b"x")
    argv = ["--input", str(tmp_path), "--output", str(tmp_path / "out"), "--dry-run"]
    assert session.main(argv, CaptionConfig, "") == 0
    assert "1 shard (1 folder of images), 0.0 MiB, 1 image" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_sigterm_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_job(*_: object, **__: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(session, "connect", lambda _: None)
    monkeypatch.setattr(run, "run_job", run_job)
    assert session.main(["--input", "a", "--output", "o"], CaptionConfig, "") == 1
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_native_messages_go_to_a_file_and_pythons_to_the_screen(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pipeline.job import session as s; s.divert_native_messages(); "
        "os.write(2, b'C++ stack'); print('error: no', file=sys.stderr); print(s.native_log())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        cwd=Path(session.__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == "error: no\n"
    assert Path(done.stdout.strip()).read_text() == "C++ stack"


def test_a_cluster_that_asks_for_a_token_is_told_in_one_line(tmp_path: Path) -> None:
    """Ray says of it what it says of one that is not there, but for a token beside."""
    gone = ConnectionError("Failed to connect to Ray cluster at 192.0.2.2:6399")
    assert session.no_way_in(gone, tmp_path) == f"Ray: {gone}"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    for exc in (gone, AuthenticationError("InvalidAuthToken.\nTry again.")):
        told = session.no_way_in(exc, tmp_path)
        assert told.endswith("lets in who sets RAY_AUTH_MODE=token")
        assert "\n" not in told and "secret" not in told


def test_an_output_that_ray_would_delete_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    submitted.mkdir(parents=True)
    monkeypatch.chdir(submitted)
    for output in ("out", "./out", str(submitted / "out"), f"file://{submitted}/out"):
        with pytest.raises(
            ConfigError, match=r"^output: .*/_ray_pkg_1/out here, in the working dir"
        ):
            refuse_lost_output(output)
    for output in (str(tmp_path / "out"), "s3://bucket/working_dir_files/out"):
        refuse_lost_output(output)
    monkeypatch.chdir(tmp_path)
    refuse_lost_output("out")
