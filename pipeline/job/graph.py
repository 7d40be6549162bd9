"""The stages as a Ray Data pipeline; the only file that calls `map_batches`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipeline.copies.client import RegistryClient
from pipeline.ledger.work import Assignment
from pipeline.parts.sink import Sink
from pipeline.resources.placement import Pool
from pipeline.resources.resolved import Resolved
from pipeline.sources import ReadOptions
from pipeline.stages import (
    GenerateStage,
    GuardedStage,
    PartitionStage,
    ReadStage,
    SelectStage,
)
from pipeline.stages.actor import ModelStages
from pipeline.stages.context import StageContext
from pipeline.stages.read import COLUMN

MAX_BLOCK_BYTES = 32 * 1024**2
MIN_BLOCK_BYTES = 1024**2
IMAGES_PER_TASK = 16
MAX_READ_TASKS = 1000


def block_bytes(resolved: Resolved) -> int:
    """Size of Ray's blocks: one batch of small images; of large ones Ray puts several together.

    A model stage hands on nothing of a block before it is done with all of it: what is finished and
    cannot be stored yet is no more than about a batch for each call.
    """
    spec = resolved.spec
    image = min(2, spec.max_partitions) * 3 * spec.geometry.piece_size**2
    wanted = resolved.config.run.batch_size * image
    return min(MAX_BLOCK_BYTES, max(MIN_BLOCK_BYTES, wanted))


def set_up_ray_data(resolved: Resolved) -> None:
    """Settings of Ray Data for this process: small blocks, since rows are images."""
    context = DataContext.get_current()
    context.target_max_block_size = block_bytes(resolved)
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def build(
    resolved: Resolved,
    *,
    assignments: Sequence[Assignment],
    options: ReadOptions,
    context: StageContext,
    sink: Sink,
    registry: RegistryClient | None = None,
) -> Dataset:
    """The lazy pipeline from shards to answered rows (`ANSWERED_SCHEMA`).

    Nothing is caught here: row failures are values, and an exception out of a stage stops the job.
    Ray's own `max_errored_blocks` stays at 0, since it drops whole blocks without a word.
    """
    read = ReadStage(context, options, sink)
    config, placement = resolved.config, resolved.placement
    images, geometry = config.input, resolved.spec.geometry
    cutting = (geometry, images.decode_limits, images.cut_options)
    likeness = config.duplicates.near_duplicates is not None
    partition = GuardedStage(PartitionStage, context, *cutting, registry, likeness)
    # Blocks made here: a table that is cut by Ray takes two tasks one after the other.
    texts = [{COLUMN: assignment.to_json()} for assignment in assignments]
    num_tasks = min(len(texts), MAX_READ_TASKS)
    rows = ray.data.from_items(texts, override_num_blocks=num_tasks)
    rows = _tasks(rows, read, batch_size=1, cpus=placement.io_cpus)
    rows = _tasks(rows, partition, batch_size=IMAGES_PER_TASK, cpus=placement.partition_cpus)
    return _model_stages(rows, resolved, context)


def _tasks(rows: Dataset, stage: Any, *, batch_size: int, cpus: float) -> Dataset:
    """A stage without state between batches, as Ray tasks."""
    return rows.map_batches(
        stage.__call__, batch_size=batch_size, batch_format="pyarrow", num_cpus=cpus
    )


def _model_stages(rows: Dataset, resolved: Resolved, context: StageContext) -> Dataset:
    placement = resolved.placement
    if placement.vision is None:
        return _actors(rows, (SelectStage, GenerateStage), placement.language, resolved, context)
    rows = _actors(rows, (SelectStage,), placement.vision, resolved, context)
    return _actors(rows, (GenerateStage,), placement.language, resolved, context)


def _actors(
    rows: Dataset,
    kinds: tuple[type[Any], ...],
    pool: Pool,
    resolved: Resolved,
    context: StageContext,
) -> Dataset:
    """Stages that hold models, as a pool of actors of fixed size.

    An actor has `pool.calls` batches under way and two more at hand.
    """
    here = replace(context, gpus=pool.gpus, cpus=pool.cpus, threads=pool.threads)
    return rows.map_batches(
        ModelStages,
        fn_constructor_args=(kinds, here, resolved),
        compute=ActorPoolStrategy(
            size=pool.size,
            max_concurrent_calls_per_actor=pool.calls,
            max_tasks_in_flight_per_actor=pool.calls + 2,
            enable_true_multi_threading=True,
        ),
        batch_size=resolved.config.run.batch_size,
        batch_format="pyarrow",
        num_cpus=pool.cpus,
        **_gpus_of(pool),
    )


def _gpus_of(pool: Pool) -> dict[str, Any]:
    """What an actor of the pool holds: one GPU, or less of one, itself.

    Several are those of its engine's processes. They and the actor are placed as one group, on one
    node, and the engine finds the group that its actor is in.
    """
    if pool.gpus <= 1:
        return {"num_gpus": pool.gpus or None}

    def grouped() -> dict[str, Any]:
        bundles = [{"CPU": pool.cpus}, *([{"GPU": 1.0}] * int(pool.gpus))]
        group = placement_group(bundles, strategy="STRICT_PACK")
        return {
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                group, placement_group_capture_child_tasks=True
            )
        }

    return {"ray_remote_args_fn": grouped}
