"""The registry in an actor, as stages and driver see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.copies.claims import Asked, Claim, First, Known, Likeness
from pipeline.copies.registry import Registry
from pipeline.parts.sink import Sink
from pipeline.rows.errors import JobError, StorageError

__all__ = ["RegistryActor", "RegistryClient", "learn_captions", "start_registry"]

_COLUMNS: Final = (
    *("image_id", "sha256", "prompt"),
    *("duplicate_of", "duplicate_distance", "phash"),  # which older parts lack
)
_THREADS: Final = 16


def learn_captions(registry: Registry, sink: Sink) -> int:
    """Enter all captions of the output but those of near duplicates; returns how many are known.

    A few parts are in memory at a time.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        paths = iter(sink.parts("captions"))
        while some := list(islice(paths, _THREADS)):
            for path, rows in zip(some, pool.map(lambda p: _read(sink, p), some), strict=True):
                registry.learn(path, _known(rows))
    registry.index()
    return len(registry)


def _read(sink: Sink, path: str) -> list[dict[str, Any]]:
    with sink.open(path) as file, pq.ParquetFile(file) as part:
        table: pa.Table = part.read(columns=[c for c in _COLUMNS if c in part.schema_arrow.names])
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _known(rows: list[dict[str, Any]]) -> Iterator[Known]:
    for row in rows:
        # The caption of a near duplicate is that of other bytes.
        if row["sha256"] is not None and row.get("duplicate_distance") is None:
            asked = Asked(row["sha256"], row["prompt"], row["image_id"])
            yield Known(asked, row.get("duplicate_of") is not None, row.get("phash"))


class RegistryActor(Registry):
    """In a process of its own, on the driver's node."""

    def learn_captions(self, sink: Sink) -> int:
        return learn_captions(self, sink)


@dataclass(frozen=True, kw_only=True)
class RegistryClient:
    """What a stage holds. An actor that is gone has taken its memory with it: the job stops, and
    the next one fills another from the captions that are stored."""

    actor: Any

    def learn_captions(self, sink: Sink) -> int:
        return int(self._ask("learn_captions", sink))

    def claim(self, asked: Sequence[Asked]) -> list[Claim]:
        found: list[Claim] = self._ask("claim", asked)
        return found

    def liken(self, likenesses: Sequence[Likeness]) -> list[bool]:
        found: list[bool] = self._ask("liken", likenesses)
        return found

    def stored(self, path: str, asked: Sequence[Asked]) -> None:
        self._ask("stored", path, asked)

    def resolve(self, numbers: Sequence[int]) -> dict[int, First]:
        found: dict[int, First] = self._ask("resolve", numbers)
        return found

    def end(self) -> None:
        """Its process, and with it the file."""
        import ray

        ray.kill(self.actor)

    def _ask(self, method: str, *args: Any) -> Any:
        import ray  # A stage without a cluster does without it.
        from ray.exceptions import RayActorError, RayTaskError

        try:
            return ray.get(getattr(self.actor, method).remote(*args))
        except RayActorError as exc:
            raise StorageError(
                "the registry of duplicates has died with its process; run the same command again"
            ) from exc
        except RayTaskError as exc:
            if isinstance(exc.cause, JobError):
                raise type(exc.cause)(str(exc.cause)) from None
            raise


def start_registry(near: int | None) -> RegistryClient:
    """An empty one on the driver's node, which the job cannot survive anyway.

    Its file lies where SQLite puts temporary files: in SQLITE_TMPDIR, TMPDIR, /var/tmp or /tmp.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    options = ray.remote(num_cpus=0, max_restarts=0, scheduling_strategy=here)
    return RegistryClient(actor=options(RegistryActor).remote(near))
