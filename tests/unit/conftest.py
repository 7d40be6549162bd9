"""A fixed hypothesis profile and the checkpoints that several unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from lab.device_check.bench import exact_float32
from tests.support.checkpoints import MANY_STOPS, build_checkpoint
from tests.support.engine_cases import Case, make_case
from tests.support.halves import Halves

# The models are small: a second thread gains little, and beside other work it waits for a core.
torch.set_num_threads(1)
settings.register_profile("unit", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def exact_on_gpus(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests with the mark `gpu` compare texts: nothing of them is computed in TF32."""
    exact = exact_float32() if request.node.get_closest_marker("gpu") else nullcontext()
    with exact:
        yield


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight LLaVA-Next checkpoint with 56-pixel partitions, untied."""
    return build_checkpoint(tmp_path_factory.mktemp("small"), seed=1)


@pytest.fixture(scope="session")
def checkpoint_336(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight LLaVA-Next checkpoint with the published 336-pixel geometry."""
    return build_checkpoint(tmp_path_factory.mktemp("geometry336"), seed=2, partition_size=336)


@pytest.fixture(scope="session")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """200 requests of uneven lengths to a decoder with two query heads per key-value head.

    It stops at many ids, so that requests end at different steps.
    """
    folder = tmp_path_factory.mktemp("grouped")
    build_checkpoint(folder, seed=3, num_key_value_heads=2, stop_ids=MANY_STOPS)
    return make_case(Halves(folder), 200, 12)
