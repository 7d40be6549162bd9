"""What a job's settings come to on two CPUs."""

from __future__ import annotations

from pipeline.job.resolve import resolve
from pipeline.resources.placement import Cluster
from pipeline.resources.resolved import Resolved
from pipeline.settings.config import JobConfig


def resolved(config: JobConfig) -> Resolved:
    return resolve(config, Cluster(cpus=2, gpus=0))
