"""A job run again does what is missing, and nothing else."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS
from pipeline.verify.command import main as verify
from tests.integration.job import Result, caption
from tests.support.source_files import add_member

ROOT = Path(__file__).parents[2]
PICTURES = [sample.image for sample in load_samples(SAMPLES).values()]
pytestmark = pytest.mark.usefixtures("cluster")


def write_parquet(path: Path, pictures: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(pictures, pa.binary())}), path)


def write_tar(path: Path, pictures: list[bytes]) -> None:
    import tarfile

    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for index, data in enumerate(pictures):
            add_member(tar, f"{index}.jpg", data)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below `folder` with its size and time of change."""
    stats = {path: path.stat() for path in folder.rglob("*")}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def spoil(path: Path) -> None:
    """Destroy the content behind the back of anyone who looks at size and time alone."""
    stat = path.stat()
    path.write_bytes(b"\0" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def ids(result: Result) -> list[str]:
    return sorted(row["image_id"] for row in (*result.captions, *result.quarantine))


def test_a_killed_driver_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL once some parts are there; the texts are those of a run that nobody killed."""
    write_parquet(tmp_path / "in" / "a.parquet", PICTURES[:24])
    write_tar(tmp_path / "in" / "b.tar", PICTURES[24:48])
    flags = ["--rows-per-part", "4"]
    kill_after_parts(tmp_path / "in", tmp_path / "out", 2, *flags)
    stored = len(list((tmp_path / "out" / "captions").glob("*.parquet")))
    resumed = caption([str(tmp_path / "in")], tmp_path / "out", *flags)
    assert resumed.exit_code == EXIT_DONE
    assert 0 < stored * 4 < 48
    assert resumed.report["images"] <= 48 - 2 * 4
    expected = [f"{shard}#{i}" for shard in ("a.parquet", "b.tar") for i in range(24)]
    assert ids(resumed) == sorted(expected)
    whole = caption([str(tmp_path / "in")], tmp_path / "whole", *flags)
    assert resumed.texts() == whole.texts()
    assert verify([str(tmp_path / "out")]) == EXIT_DONE


def kill_after_parts(source: Path, output: Path, count: int, *flags: str) -> None:
    """Run the job in a process of its own, on the cluster that is up, and kill it."""
    command = ["jobs/caption.py", "--input", str(source), "--output", str(output)]
    address = ray.get_runtime_context().gcs_address
    process = subprocess.Popen(
        [sys.executable, *command, "--max-new-tokens", "8", *flags],
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while len(list((output / "captions").glob("part-*.parquet"))) < count:
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_rerun_after_success_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is one with other settings let in."""
    write_parquet(tmp_path / "in" / "a.parquet", PICTURES[:4])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    assert caption(source, output).exit_code == EXIT_DONE
    before = listing(output)
    assert caption(source, output).exit_code == EXIT_DONE
    assert "nothing to do: 1 shard is complete" in capsys.readouterr().out
    refusals = {
        ("--budget", "0.4"): "token_budget was 0.2, now 0.4",
        ("--prompt", "What is it?"): "prompt was 'Describe the image.', now 'What is it?'",
        ("--dtype", "bfloat16"): "dtype was 'float32', now 'bfloat16'",
    }
    for flags, message in refusals.items():
        assert caption(source, output, *flags).exit_code == EXIT_BAD_CONFIG
        error = capsys.readouterr().err
        assert message in error
        assert "--new-run" in error
    assert listing(output) == before


def test_a_new_run_is_kept_beside_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", PICTURES[:4])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    first = caption(source, output)
    assert caption(source, output, "--new-run", "--budget", "1").exit_code == EXIT_DONE
    (beside,) = (output / "runs").iterdir()
    before = listing(output)
    assert len(pq.read_table(beside / "captions")) == 4
    assert caption(source, output, "--new-run", "--budget", "1").exit_code == EXIT_DONE
    assert "nothing to do" in capsys.readouterr().out
    assert listing(output) == before
    assert caption(source, output).captions == first.captions


def test_only_new_shards_are_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The old ones are destroyed where no listing shows it: opening one would be noticed."""
    for index in range(3):
        write_tar(tmp_path / "in" / f"{index}.tar", PICTURES[:2])
        write_parquet(tmp_path / "in" / f"{index}.parquet", PICTURES[2:4])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    first = caption(source, output)
    for path in (tmp_path / "in").iterdir():
        spoil(path)
    write_tar(tmp_path / "in" / "3.tar", PICTURES[:2])
    write_parquet(tmp_path / "in" / "3.parquet", PICTURES[2:4])
    write_parquet(tmp_path / "in" / "deep" / "4.parquet", PICTURES[4:6])
    grown = caption(source, output)
    assert grown.exit_code == EXIT_DONE
    assert grown.report["opened"]["shards"] == 3
    assert grown.report["images"] == 6
    assert len(ids(grown)) == len(set(ids(grown))) == len(ids(first)) + 6
    assert not grown.quarantine


def test_a_changed_shard_is_refused_redone_or_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", PICTURES[:4])
    write_parquet(tmp_path / "in" / "b.parquet", PICTURES[4:8])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    first = caption(source, output)
    write_parquet(tmp_path / "in" / "a.parquet", PICTURES[10:15])
    assert caption(source, output).exit_code == EXIT_BAD_CONFIG
    assert "changed since captioned: a.parquet" in capsys.readouterr().err
    skipped = caption(source, output, "--on-changed", "skip")
    assert skipped.exit_code == EXIT_DONE
    assert skipped.captions == first.captions
    redone = caption(source, output, "--on-changed", "redo")
    assert redone.exit_code == EXIT_DONE
    expected = [f"a.parquet#{i}" for i in range(5)] + [f"b.parquet#{i}" for i in range(4)]
    assert ids(redone) == expected
    texts, before = redone.texts(), first.texts()
    assert all(texts[i] == before[i] for i in before if i.startswith("b"))
    assert any(texts[i] != before[i] for i in before if i.startswith("a"))
    assert caption(source, output).exit_code == EXIT_DONE
    assert "nothing to do" in capsys.readouterr().out


def test_quarantined_rows_are_retried_on_request(tmp_path: Path) -> None:
    """A limit that was too low, raised."""
    large = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(large, "PNG")
    write_parquet(tmp_path / "in" / "a.parquet", [PICTURES[0], large.getvalue(), b"broken"])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    small = ["--max-pixels", str(400 * 300 - 1)]
    pictures = caption(source, output, *small, "--max-error-rate", "0.7")
    assert pictures.ends()["a.parquet#1"] == "image_too_many_pixels"
    plain = caption(source, output)
    assert plain.exit_code == EXIT_TOO_MANY_BAD_ROWS
    assert plain.ends() == pictures.ends()
    again = caption(source, output, "--retry-quarantined")
    assert again.ends() == {
        "a.parquet#0": "ok",
        "a.parquet#1": "ok",
        "a.parquet#2": "image_unidentified",
    }
    assert len(ids(again)) == 3
    assert again.report["images"] == 1


def test_a_limited_run_is_completed_by_a_whole_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "in" / "a.tar", PICTURES[:4])
    write_tar(tmp_path / "in" / "b.tar", PICTURES[4:8])
    (tmp_path / "in" / "loose").mkdir()
    for index, data in enumerate(PICTURES[8:11]):
        (tmp_path / "in" / "loose" / f"{index}.jpg").write_bytes(data)
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    assert len(ids(caption(source, output, "--limit", "6"))) == 6
    whole = caption(source, output)
    assert whole.exit_code == EXIT_DONE
    assert len(ids(whole)) == len(set(ids(whole))) == 11
    assert whole.report["images"] == 5
    (tmp_path / "in" / "loose" / "new.png").write_bytes(PICTURES[12])
    grown = caption(source, output)
    assert len(ids(grown)) == len(set(ids(grown))) == 12
    assert grown.report["images"] == 1


def test_overwrite_starts_anew(tmp_path: Path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", PICTURES[:4])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    caption(source, output)
    other = caption(source, output, "--limit", "3", "--overwrite", "--budget", "1")
    assert other.exit_code == EXIT_DONE
    assert len(other.captions) == 3
    assert all(r["visual_tokens_kept"] == r["visual_tokens_dense"] for r in other.captions)


def test_a_second_run_at_once_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.ledger.lease import Lease
    from pipeline.parts.sink import Sink

    write_parquet(tmp_path / "in" / "a.parquet", PICTURES[:2])
    sink = Sink(url=str(tmp_path / "out"))
    with Lease(store=sink, run_id="20260101T000000-000000", log=sys.stderr, renew_sec=0.5):
        result = caption([str(tmp_path / "in")], tmp_path / "out")
    assert result.exit_code == 1
    assert "is writing to it" in capsys.readouterr().err
    assert not result.captions
    assert caption([str(tmp_path / "in")], tmp_path / "out").exit_code == EXIT_DONE
