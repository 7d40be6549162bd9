"""Which stage runs where, and how many of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from pipeline.resources.gpus import find_gpu
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import RunConfig

CPUS_PER_MODEL_ACTOR = 8


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What there is to run on; `gpu_name` is None without a GPU."""

    cpus: float
    gpus: int
    gpu_name: str | None = None

    @property
    def gpu_bytes(self) -> int:
        """Memory of one GPU by data sheet, of the smallest kind that has the name."""
        return find_gpu(self.gpu_name or "").memory_gb * 10**9

    @classmethod
    def of_ray(cls) -> Cluster:
        """The Ray cluster this process is connected to."""
        import ray

        resources: dict[str, Any] = ray.cluster_resources()
        prefix = "accelerator_type:"
        names = [key.removeprefix(prefix) for key in resources if key.startswith(prefix)]
        gpus = int(resources.get("GPU", 0))
        name = (names or ["unknown"])[0] if gpus else None
        return cls(cpus=float(resources.get("CPU", 1)), gpus=gpus, gpu_name=name)

    @classmethod
    def of_this_machine(cls) -> Cluster:
        """Without Ray, for a dry run."""
        import torch

        gpus = torch.cuda.device_count()
        name = torch.cuda.get_device_name(0) if gpus else None
        return cls(cpus=float(len(os.sched_getaffinity(0))), gpus=gpus, gpu_name=name)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Actors of one stage, and what each occupies. `threads` are torch's.

    Attributes:
        gpus: above 1, they are those of an engine's own processes.
        calls: batches an actor has under way at once.
    """

    size: int
    gpus: float
    cpus: float
    threads: int | None
    calls: int = 2


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Pools of the model stages, and the CPU share of each task of the others.

    Attributes:
        vision: None when vision and language are fused in the language pool.
    """

    vision: Pool | None
    language: Pool
    partition_cpus: float
    io_cpus: float

    @property
    def pools(self) -> list[Pool]:
        return [pool for pool in (self.vision, self.language) if pool is not None]

    @property
    def gpus(self) -> float:
        """GPUs held while the job runs."""
        return sum(pool.size * pool.gpus for pool in self.pools)

    def describe(self) -> str:
        """One line for people."""
        if self.vision is None:
            return f"{_pool(self.language)} for vision and language together"
        return f"{_pool(self.vision)} for vision, {_pool(self.language)} for language"


def _pool(pool: Pool) -> str:
    kind = (
        f"{pool.gpus:g} GPU{'s' if pool.gpus > 1 else ''}"
        if pool.gpus
        else f"{pool.threads or 1} CPU threads"
    )
    return f"{pool.size} actor{'s' if pool.size > 1 else ''} of {kind}"


def place(run: RunConfig, cluster: Cluster) -> Placement:
    """Fused on CPUs and on one GPU; split from two GPUs on, a quarter of them for vision.

    On small machines tasks ask for fractions of a CPU, so that reading and decoding go on beside
    the actors, which hold theirs for the whole job.

    Raises:
        ConfigError: if the pools that were asked for do not fit the GPUs there are, or a vision
            pool was asked for where vision and language share one, or a language model was to be
            shared among GPUs where they share one.
    """
    small = cluster.cpus <= 4
    tasks = {"partition_cpus": 0.5 if small else 1.0, "io_cpus": 0.25 if small else 0.5}
    split = run.placement == "split" or (run.placement == "auto" and cluster.gpus >= 2)
    if run.vision_actors and not split:
        raise ConfigError("vision_actors: there is a vision pool only with --placement split")
    if run.tensor_parallel > 1 and not (cluster.gpus and split):
        raise ConfigError(
            f"tensor_parallel: {run.tensor_parallel} GPUs would be the language model's alone, and "
            f"vision needs one beside them (--placement split), of {_there(cluster.gpus)}"
        )
    if cluster.gpus:
        vision, language = _gpu_pools(run, cluster, split)
    else:
        vision, language = _cpu_pools(run, cluster.cpus, split)
    return Placement(vision=vision, language=language, **tasks)


def _gpu_pools(run: RunConfig, cluster: Cluster, split: bool) -> tuple[Pool | None, Pool]:
    gpus, each = cluster.gpus, run.tensor_parallel
    vision = (run.vision_actors or max(1, gpus // 4)) if split else 0
    language = run.language_actors or max(1, (gpus - vision) // each)
    shares_one = split and gpus == 1 and vision + language == 2 and each == 1
    if vision + language * each > gpus and not shares_one:
        asked = f"{vision} vision and {language} language actors" if split else f"{language} actors"
        of_each = f" of {each} GPUs each" if each > 1 else ""
        raise ConfigError(f"language_actors: {asked}{of_each} need more than {_there(gpus)}")

    def pool(size: int, num_gpus: int) -> Pool:
        gpu = 0.5 if shares_one else float(num_gpus)
        cpu = _cpu_share(cluster.cpus, vision + language)
        return Pool(size=size, gpus=gpu, cpus=cpu, threads=run.torch_threads)

    return (pool(vision, 1) if split else None), pool(language, each)


def _there(gpus: int) -> str:
    return f"the {gpus} GPU{'' if gpus == 1 else 's'} there {'is' if gpus == 1 else 'are'}"


def _cpu_pools(run: RunConfig, cpus: float, split: bool) -> tuple[Pool | None, Pool]:
    language = run.language_actors or max(1, int(cpus // CPUS_PER_MODEL_ACTOR))
    vision = (run.vision_actors or max(1, language // 4)) if split else 0
    threads = run.torch_threads or max(1, int(cpus) // (language + vision))
    share = _cpu_share(cpus, language + vision)
    pool = Pool(size=language, gpus=0.0, cpus=share, threads=threads)
    return (Pool(size=vision, gpus=0.0, cpus=share, threads=threads) if vision else None), pool


def _cpu_share(cpus: float, num_actors: int) -> float:
    """CPUs an actor holds to the end of the job: half of all stay free for the tasks."""
    return min(1.0, cpus / 2 / num_actors)
