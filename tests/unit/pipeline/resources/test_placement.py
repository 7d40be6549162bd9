"""Pools fit what there is, and always leave CPU for the tasks beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hired_core.errors import SettingError
from pipeline.resources.placement import Cluster, Placement, place
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import RunConfig


def cpus_held(placement: Placement) -> float:
    return sum(pool.size * pool.cpus for pool in placement.pools)


def sizes(placement: Placement) -> tuple[int, int]:
    """(vision, language); 0 for fused."""
    return (placement.vision.size if placement.vision else 0), placement.language.size


@pytest.mark.parametrize(
    ("kind", "cpus", "gpus", "expected"),
    [
        ("auto", 1, 0, (0, 1)),
        ("auto", 2, 0, (0, 1)),
        ("auto", 8, 0, (0, 1)),
        ("auto", 64, 0, (0, 8)),
        ("split", 2, 0, (1, 1)),
        ("split", 64, 0, (2, 8)),
        ("auto", 16, 1, (0, 1)),
        ("split", 16, 1, (1, 1)),
        ("auto", 16, 2, (1, 1)),
        ("fused", 16, 2, (0, 2)),
        ("auto", 64, 8, (2, 6)),
        ("fused", 64, 8, (0, 8)),
    ],
)
def test_default_pools(kind: str, cpus: int, gpus: int, expected: tuple[int, int]) -> None:
    cluster = Cluster(cpus=cpus, gpus=gpus, gpu_name="X" if gpus else None)
    placement = place(RunConfig(placement=kind), cluster)  # type: ignore[arg-type]
    assert sizes(placement) == expected
    assert placement.gpus == gpus


@pytest.mark.parametrize(
    ("run", "gpus", "expected"),
    [
        (RunConfig(vision_actors=3), 8, (3, 5)),
        (RunConfig(language_actors=2), 8, (2, 2)),
        (RunConfig(vision_actors=1, language_actors=3), 4, (1, 3)),
        (RunConfig(placement="fused", language_actors=2), 8, (0, 2)),
        (RunConfig(placement="split", vision_actors=2, language_actors=3), 0, (2, 3)),
    ],
)
def test_pools_that_are_asked_for(run: RunConfig, gpus: int, expected: tuple[int, int]) -> None:
    assert sizes(place(run, Cluster(cpus=32, gpus=gpus, gpu_name="X"))) == expected


def test_one_gpu_is_shared_in_halves_when_split() -> None:
    placement = place(RunConfig(placement="split"), Cluster(cpus=8, gpus=1, gpu_name="X"))
    assert [pool.gpus for pool in placement.pools] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("run", "gpus", "line"),
    [
        (RunConfig(vision_actors=8), 8, "8 vision and 1 language actors need more than the 8 GPUs"),
        (RunConfig(language_actors=8), 8, "2 vision and 8 language actors need more than the 8"),
        (RunConfig(placement="fused", language_actors=3), 2, "3 actors need more than the 2 GPUs"),
        (RunConfig(placement="fused", language_actors=2), 1, "2 actors need more than the 1 GPU"),
        (
            RunConfig(placement="split", vision_actors=2),
            1,
            "2 vision and 1 language actors need more than the 1 GPU ",
        ),
    ],
)
def test_too_many_actors_are_refused(run: RunConfig, gpus: int, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place(run, Cluster(cpus=64, gpus=gpus, gpu_name="X"))
    assert str(caught.value).startswith(f"language_actors: {line}")


def test_gpus_that_share_a_language_model_are_counted_for_each_actor() -> None:
    """Of eight, two see; of the six that are left, an actor has four or two."""
    cluster = Cluster(cpus=64, gpus=8, gpu_name="X")
    for each, actors in ((2, 3), (4, 1)):
        placement = place(RunConfig(backend="vllm", tensor_parallel=each), cluster)
        assert sizes(placement) == (2, actors)
        assert placement.language.gpus == each and placement.gpus == 2 + each * actors


@pytest.mark.parametrize(
    ("gpus", "kind", "line"),
    [
        (0, "split", "tensor_parallel: 2 GPUs would be .* the 0 GPUs there are"),
        (1, "auto", "tensor_parallel: 2 GPUs would be .* the 1 GPU there is"),
        (4, "fused", "tensor_parallel: 2 GPUs would be .*--placement split"),
        (2, "auto", "language_actors: 1 vision and 1 language actors of 2 GPUs each need more"),
    ],
)
def test_gpus_that_are_too_few_to_share_a_model(gpus: int, kind: str, line: str) -> None:
    run = RunConfig(backend="vllm", tensor_parallel=2, placement=kind)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"^{line}"):
        place(run, Cluster(cpus=64, gpus=gpus, gpu_name="X" if gpus else None))


def test_only_vllm_shares_a_model_among_gpus() -> None:
    with pytest.raises(SettingError, match=r"^tensor_parallel: only --backend vllm"):
        RunConfig(tensor_parallel=2)


def test_a_vision_pool_without_split_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^vision_actors: .*--placement split"):
        place(RunConfig(vision_actors=2), Cluster(cpus=8, gpus=0))


@given(
    cpus=st.integers(1, 200),
    gpus=st.integers(0, 16),
    kind=st.sampled_from(["auto", "fused", "split"]),
    asked=st.none() | st.integers(1, 20),
)
def test_pools_fit_and_leave_room_for_every_task(
    cpus: int, gpus: int, kind: str, asked: int | None
) -> None:
    """Actors hold their CPUs to the end of the job; a task that never fits beside them is stuck."""
    cluster = Cluster(cpus=cpus, gpus=gpus, gpu_name="X" if gpus else None)
    run = RunConfig(placement=kind, language_actors=asked)  # type: ignore[arg-type]
    try:
        placement = place(run, cluster)
    except ConfigError:
        assert gpus and asked
        return
    assert placement.gpus <= gpus
    left = cpus - cpus_held(placement)
    assert left >= max(placement.partition_cpus, placement.io_cpus) - 1e-9
    if cpus > 1:  # reading, cutting and writing at once
        assert left >= placement.partition_cpus + 2 * placement.io_cpus - 1e-9
    assert all(
        pool.cpus > 0 and (pool.threads is None or pool.threads >= 1) for pool in placement.pools
    )


def test_threads_are_shared_among_the_actors_unless_given() -> None:
    shared = place(RunConfig(placement="split"), Cluster(cpus=8, gpus=0))
    assert [pool.threads for pool in shared.pools] == [4, 4]
    chosen = place(RunConfig(torch_threads=3), Cluster(cpus=8, gpus=0))
    assert chosen.language.threads == 3


@pytest.mark.parametrize(
    ("kind", "cpus", "gpus", "line"),
    [
        ("auto", 2, 0, "1 actor of 2 CPU threads for vision and language together"),
        ("auto", 16, 0, "2 actors of 8 CPU threads for vision and language together"),
        ("auto", 8, 4, "1 actor of 1 GPU for vision, 3 actors of 1 GPU for language"),
        ("split", 8, 1, "1 actor of 0.5 GPU for vision, 1 actor of 0.5 GPU for language"),
    ],
)
def test_description(kind: str, cpus: int, gpus: int, line: str) -> None:
    cluster = Cluster(cpus=cpus, gpus=gpus, gpu_name="X" if gpus else None)
    assert place(RunConfig(placement=kind), cluster).describe() == line  # type: ignore[arg-type]
