"""One small local Ray cluster for all integration tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import ray

from pipeline.job.session import keep_idle_workers

MIB = 1024**2


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A cluster of 2 CPUs and a small object store."""
    keep_idle_workers()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.init(
        num_cpus=2,
        object_store_memory=400 * MIB,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
