"""The job through Ray beside the bare engine: `python -m tests.throughput --images 500,5000`.

Both caption the same images with the same model on the same machine, one after the other; the job
starts its own Ray. Sizes after the first are run by the job only, for the driver's memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.dataset as ds
import torch

from lab.benchmark.contestants.captioner import Captioner
from lab.benchmark.contestants.subject import Setting, Subject, prepared
from lab.benchmark.images import make_images
from lab.environment import environment

ROOT = Path(__file__).parents[1]
IMAGES_PER_SHARD = 50
SAMPLE_SEC = 0.2


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """One run of the job.

    Attributes:
        images_per_sec: from the start of the process to its end, Ray and model loading included.
        steady_images_per_sec: between the end of the first and of the last batch of texts.
        driver_peak_mib: resident memory of the driver.
    """

    images: int
    wall_sec: float
    images_per_sec: float
    steady_images_per_sec: float
    driver_peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", default="500", help="sizes, with commas")
    add("--bare-images", type=int, default=128, help="what the bare engine's rate is taken over")
    add("--model", default="embedded", help="embedded, a preset of jobs/benchmark.py or a folder")
    add("--size", type=int, default=672, help="width and height of an image, in pixels")
    add("--budget", type=float, default=0.2)
    add("--max-new-tokens", type=int, default=16)
    add("--output", type=Path, default=Path("out/throughput.json"))
    options = parser.parse_args()
    sizes = [int(size) for size in options.images.split(",")]
    setting = Setting(model=options.model, max_new_tokens=options.max_new_tokens)
    with TemporaryDirectory(prefix="throughput-") as folder, prepared(setting) as ready:
        found = _measure(ready, options, sizes, Path(folder))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: found[key] for key in ("bare_images_per_sec", "jobs", "ratio")}))


def _measure(
    setting: Setting, options: argparse.Namespace, sizes: Sequence[int], folder: Path
) -> dict[str, Any]:
    images = make_images(sizes[0], width=options.size, height=options.size)
    bare = _bare(setting, images[: options.bare_images], options.budget)
    jobs = [_job(setting, images, count, options.budget, folder / str(count)) for count in sizes]
    return {
        "setting": asdict(setting) | {"folder": None, "budget": options.budget},
        "size": options.size,
        "environment": environment(torch.device("cpu")),
        "bare_images_per_sec": bare,
        "jobs": [asdict(job) for job in jobs],
        "ratio": {
            "all": jobs[0].images_per_sec / bare,
            "steady": jobs[0].steady_images_per_sec / bare,
        },
    }


def _bare(setting: Setting, images: Sequence[bytes], budget: float) -> float:
    """Images/s of the engine without Ray, weights loaded before."""
    captioner = Captioner(Subject(setting), budget=budget)
    captioner.open()
    captioner(images[:8])
    started = time.perf_counter()
    captioner(images)
    return len(images) / (time.perf_counter() - started)


def _job(
    setting: Setting, images: Sequence[bytes], count: int, budget: float, folder: Path
) -> JobRun:
    """Over `count` images, the given ones over and over."""
    folder.mkdir()
    for start in range(0, count, IMAGES_PER_SHARD):
        members = range(start, min(count, start + IMAGES_PER_SHARD))
        _write_tar(folder / f"{start:06d}.tar", {i: images[i % len(images)] for i in members})
    output = folder / "out"
    command = [sys.executable, "jobs/caption.py", "--input", str(folder / "*.tar")]
    command += ["--output", str(output), "--model", setting.folder or setting.model]
    command += ["--budget", f"{budget:g}", "--max-new-tokens", str(setting.max_new_tokens)]
    started, peak_mib = time.time(), 0.0
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None:
            peak_mib = max(peak_mib, _peak_mib(process.pid))
            time.sleep(SAMPLE_SEC)
    wall = time.time() - started
    if process.returncode:
        raise RuntimeError((folder / "log").read_text()[-2000:])
    captions = ds.dataset(str(output / "captions"), format="parquet").count_rows()
    if captions != count:
        raise RuntimeError(f"{captions} captions of {count} images")
    return JobRun(
        images=count,
        wall_sec=round(wall, 1),
        images_per_sec=count / wall,
        steady_images_per_sec=_steady(output),
        driver_peak_mib=round(peak_mib, 1),
    )


def _steady(output: Path) -> float:
    """Images/s between the first batch of texts and the last."""
    stats = ds.dataset(str(output / "stats"), format="parquet").to_table().to_pylist()
    batches = sorted(
        (row["started_at"] + row["wall_sec"], row["num_images"])
        for row in stats
        if row["stage"] == "generate"
    )
    (first, skipped), (last, _) = batches[0], batches[-1]
    return (sum(count for _, count in batches) - skipped) / (last - first)


def _write_tar(path: Path, images: dict[int, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for index, data in images.items():
            member = tarfile.TarInfo(f"{index:06d}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _peak_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


if __name__ == "__main__":
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    main()
