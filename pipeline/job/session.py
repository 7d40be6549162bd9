"""What the entry points do around a job: connect to Ray, describe, run, turn errors into exits.

Ray, and what needs it, is imported where it is used: help, and a line about a mistyped flag, do not
wait for it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hired_core.errors import SettingError
from pipeline.command_line.cli import parse_job
from pipeline.job.early_imports import importing
from pipeline.job.signals import interrupts
from pipeline.rows import errors
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_FAILED, ConfigError, JobError
from pipeline.settings.config import CaptionConfig, QuestionConfig


def main(
    argv: Sequence[str], question: type[CaptionConfig] | type[QuestionConfig], description: str
) -> int:
    """Parse, then run or describe; returns the exit code. Errors are one line on stderr."""
    started = time.monotonic()

    def job() -> int:
        config = parse_job(argv, question, description)
        if config.run.dry_run:
            from pipeline.job.describe import describe

            print(describe(config))
            return 0
        connect(config.model.model)
        from pipeline.job.run import run_job

        return run_job(config, started=started, out=sys.stdout, log=sys.stderr)

    code = exit_code_of(job)
    if code != EXIT_FAILED:
        native_log().unlink(missing_ok=True)
    return code


def exit_code_of(job: Callable[[], int]) -> int:
    """What `job` returns, or the code of what it raises, told in one line on stderr."""
    try:
        with interrupts():
            return job()
    except errors.JobInterruptedError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except JobError as exc:
        return _complain(str(exc), exc.exit_code)
    except SettingError as exc:
        return _complain(str(exc), EXIT_BAD_CONFIG)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_FAILED
    except Exception as exc:
        from ray.exceptions import RayError

        if not isinstance(exc, RayError):
            raise
        return _complain(*_out_of_a_stage(exc))


def connect(model: str | None = None) -> None:
    """Join the cluster that the environment names, as `ray job submit` sets it; else start one.

    Both ends are left to Ray: no address is written down here.

    Args:
        model: what will be run there, so that its imports begin meanwhile; None begins nothing.
    """
    import ray

    if ray.is_initialized():
        return
    keep_idle_workers()
    divert_native_messages()
    # Ray Data logs every traceback that it also raises; `_out_of_a_stage` prints it once.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        with importing(model):
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ray.exceptions.AuthenticationError, ConnectionError) as exc:
        raise ConfigError(no_way_in(exc, Path.home())) from exc


def no_way_in(exc: Exception, home: Path) -> str:
    """Why a cluster lets nobody in: one that asks for tokens says no more than one that is gone."""
    told = " ".join(str(exc).split()) or type(exc).__name__
    token = home / ".ray" / "auth_token"
    if isinstance(exc, ConnectionError) and not token.exists():
        return f"Ray: {told}"
    return (
        f"Ray: {told.rstrip('.')}; a cluster that asks for a token, as one does that was started "
        f"where {token} is, lets in who sets RAY_AUTH_MODE=token"
    )


def divert_native_messages() -> None:
    """What Ray's native code writes to the screen goes to a file of its own, `native_log()`.

    It tells of normal events as errors, at nearly every run, and of a job that is told to end by
    stacks of C++. What Python writes still comes to the screen.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    file = os.open(native_log(), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(file, 2)
    os.close(file)
    sys.stderr = os.fdopen(screen, "w", buffering=1, errors="backslashreplace")


def native_log() -> Path:
    return Path(tempfile.gettempdir()) / f"hired-ray-{os.getpid()}.log"


def keep_idle_workers() -> None:
    """Lets a Ray that starts here keep its processes for ten idle minutes instead of one second,
    and does not let them stand back behind Ray's own, which take seconds of every core to start.

    While actors hold all CPUs Ray ends every process that idles longer than that, and the next task
    waits for a new one to import torch. On 2 cores this took a quarter of a job's time.
    """
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "600000")
    os.environ.setdefault("RAY_worker_niceness", "0")


def _complain(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _out_of_a_stage(exc: Exception) -> tuple[str, int]:
    """Message and exit code; of an error that is none of ours the traceback goes to stderr.

    Ray Data hands on only the text of what a stage raised, so the type is read back from it.
    """
    found = re.search(rf"^{errors.__name__}\.(\w+): (.+)$", str(exc), flags=re.MULTILINE)
    kind = getattr(errors, found[1], None) if found else None
    if found and isinstance(kind, type) and issubclass(kind, JobError):
        return found[2], kind.exit_code
    print(exc, file=sys.stderr)
    log = native_log()
    more = f", and more may stand in {log}" if log.is_file() and log.stat().st_size else ""
    return f"a stage failed; what it raised stands above{more}", EXIT_FAILED
