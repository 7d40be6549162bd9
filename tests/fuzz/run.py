"""Damaged input through the whole job: `python -m tests.fuzz.run --images 5000 --shards 200`.

Sound shards full of damaged images, and damaged shards full of sound images; reading, decoding,
writing and the ledger are real, the model is a stand-in. The job must come to its end, and every
row must be there once: all of the sound shards, and of each damaged one all that an independent
reader still finds. Prints JSON; the seed repeats a run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import ray

from pipeline.job import graph
from pipeline.job.session import keep_idle_workers
from pipeline.job.session import main as job
from pipeline.rows.errors import EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS
from pipeline.settings.config import CaptionConfig
from tests.fuzz.containers import PARQUET
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import image_seeds
from tests.fuzz.table_containers import has_no_rows, write_damaged_tables
from tests.fuzz.tars import TARS

IMAGES_PER_SHARD = 250
IMAGES_PER_DAMAGED_SHARD = 8
CONTAINERS = (PARQUET, *TARS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--tables", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--truncated", choices=("refuse", "accept"), default="refuse")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in", Path(folder) / "out"
        rng = random.Random(arguments.seed)
        wanted = write_damaged_images(source, arguments.images, rng)
        wanted |= write_damaged_shards(source, arguments.shards, rng)
        named = {f"{i:05}": data for i, data in enumerate(image_seeds()[:IMAGES_PER_DAMAGED_SHARD])}
        wanted |= write_damaged_tables(source, named, arguments.tables, rng)
        started = time.monotonic()
        code = _run(source, output, arguments.truncated)
        report = account(output, wanted, _with_rows(source))
    report |= {
        "seed": arguments.seed,
        "images": arguments.images,
        "shards": arguments.shards,
        "tables": arguments.tables,
        "truncated": arguments.truncated,
        "exit_code": code,
        "wall_sec": round(time.monotonic() - started, 1),
    }
    print(json.dumps(report, indent=2))
    ended = code in (EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS)
    return 0 if ended and not (report["lost"] or report["twice"] or report["silent"]) else 1


def _run(source: Path, output: Path, truncated: str) -> int:
    """The job in this process, on a small cluster of its own."""
    from tests.chaos.stand_in import StandInSelect
    from tests.fuzz.stand_in import Echo

    keep_idle_workers()
    ray.init(num_cpus=2, object_store_memory=400 * 1024**2, include_dashboard=False)
    graph.SelectStage, graph.GenerateStage = StandInSelect, Echo  # type: ignore[misc,assignment]
    flags = ["--max-pixels", "4000000", "--decode-timeout-sec", "10", "--id-column", "id"]
    flags += ["--truncated", truncated]
    try:
        # One by one: in a folder, manifests would be left out for the other files.
        inputs = [str(source / name) for name in _files(source)]
        return job(["--input", *inputs, "--output", str(output), *flags], CaptionConfig, "")
    finally:
        ray.shutdown()


def _with_rows(folder: Path) -> list[str]:
    return [name for name in _files(folder) if not has_no_rows(folder / name)]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def write_damaged_images(folder: Path, count: int, rng: random.Random) -> set[str]:
    """Sound tars and Parquet files of damaged images; returns their ids."""
    seeds = image_seeds()
    ids: set[str] = set()
    for start in range(0, count, IMAGES_PER_SHARD):
        images = {
            f"{index:05}": mutated(rng.choice(seeds), rng)
            for index in range(start, min(count, start + IMAGES_PER_SHARD))
        }
        kind = TARS[0] if start // IMAGES_PER_SHARD % 2 else PARQUET
        name = f"images-{start:05}.{kind.ending}"
        _write(folder / name, kind.pack(images))
        ids |= {f"{name}#{key}" for key in images}
    return ids


def write_damaged_shards(folder: Path, count: int, rng: random.Random) -> set[str]:
    """Damaged containers of sound images; returns the ids that can still be read."""
    seeds = image_seeds()[:IMAGES_PER_DAMAGED_SHARD]
    sound = {f"{i:05}": data for i, data in enumerate(seeds)}
    whole: dict[str, bytes] = {}
    ids: set[str] = set()
    for index in range(count):
        kind = CONTAINERS[index % len(CONTAINERS)]
        if kind.name not in whole:
            whole[kind.name] = kind.pack(sound)
        data = mutated(whole[kind.name], rng)
        name = f"damaged-{index:03}.{kind.ending}"
        _write(folder / name, data)
        ids |= {f"{name}#{key}" for key in kind.keys(data)}
    return ids


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def account(output: Path, wanted: set[str], shards: list[str]) -> dict[str, object]:
    """What is stored against what must be; nothing of the job's own code takes part."""
    times: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for kind in ("captions", "quarantine"):
        for path in (output / kind).glob("*.parquet"):
            table = pq.read_table(path)
            times.update(table["image_id"].to_pylist())
            bad = table["error_code"].to_pylist() if kind == "quarantine" else ()
            codes.update(bad or ["ok"] * len(table))
            if kind == "captions":
                notes.update(
                    n.rstrip("_0123456789") for row in table["image_notes"] for n in row.as_py()
                )
    told = {image_id.partition("#")[0] for image_id in times}
    return {
        "rows": sum(times.values()),
        "lost": sorted(wanted - times.keys())[:10],
        "twice": sorted(i for i, count in times.items() if count > 1)[:10],
        "silent": [name for name in shards if name not in told],
        "ends": dict(codes.most_common()),
        "image_notes": dict(notes.most_common()),
        "most_memory_of_a_reader_mib": _most_memory(output),
    }


def _most_memory(output: Path) -> int:
    """Of a process that reads shards, all it held besides among it."""
    tables = [
        pq.read_table(p, columns=["stage", "peak_memory_bytes"]) for p in output.glob("stats/*")
    ]
    rows = [row for table in tables for row in table.to_pylist() if row["stage"] == "read"]
    return max((row["peak_memory_bytes"] or 0 for row in rows), default=0) >> 20


if __name__ == "__main__":
    sys.exit(main())
