"""Damaged input through the whole job: `python -m tests.fuzz.run --images 5000 --shards 200`.

Sound shards full of damaged images, and damaged shards full of sound images; reading, decoding,
writing and the ledger are real, the model is a stand-in. The job must come to its end, and every
row must be there once: all of the sound shards, and of each damaged one all that an independent
reader still finds. Prints JSON; the seed repeats a run.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from pipeline.job import graph
from pipeline.job.session import keep_idle_workers
from pipeline.job.session import main as job
from pipeline.rows.errors import EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS
from pipeline.settings.config import CaptionConfig
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import image_seeds
from tests.fuzz.table_containers import has_no_rows, write_damaged_tables

IMAGES_PER_SHARD = 250
IMAGES_PER_DAMAGED_SHARD = 8


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
        kind = "tar" if start // IMAGES_PER_SHARD % 2 else "parquet"
        name = f"images-{start:05}.{kind}"
        _write(folder / name, _packed(kind, images))
        ids |= {f"{name}#{key}" for key in images}
    return ids


def write_damaged_shards(folder: Path, count: int, rng: random.Random) -> set[str]:
    """Damaged tars and Parquet files of sound images; returns the ids that can still be read."""
    sound = image_seeds()[:IMAGES_PER_DAMAGED_SHARD]
    ids: set[str] = set()
    for index in range(count):
        kind = rng.choice(("tar", "parquet"))
        whole = _packed(kind, {f"{i:05}": data for i, data in enumerate(sound)})
        data = mutated(whole, rng)
        name = f"damaged-{index:03}.{kind}"
        _write(folder / name, data)
        keys = _keys_of_tar(data) if kind == "tar" else _keys_of_parquet(data)
        ids |= {f"{name}#{key}" for key in keys if key.isdigit() and len(key) == 5}
    return ids


def _packed(kind: str, images: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    if kind == "parquet":
        images_column = pa.array(list(images.values()), pa.binary())
        pq.write_table(pa.table({"id": list(images), "image": images_column}), buffer)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for key, data in images.items():
            member = tarfile.TarInfo(f"{key}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _keys_of_tar(data: bytes) -> set[str]:
    """Of members that the standard library reads whole."""
    keys: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file and member.name.endswith(".jpg") and len(file.read()) == member.size:
                    keys.add(member.name.partition(".")[0])
    except Exception:  # What comes after the damage is not promised.
        pass
    return keys


def _keys_of_parquet(data: bytes) -> set[str]:
    """All or none: the image column has to be read, too."""
    try:
        return set(pq.read_table(io.BytesIO(data), columns=["id", "image"])["id"].to_pylist())
    except Exception:
        return set()


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
    }


if __name__ == "__main__":
    sys.exit(main())
