"""Training on any device: `meta` stands in for a GPU, since it takes no other device's tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.training.config import PATCHES_PER_PARTITION, TrainingConfig, model_config
from lab.training.data.partitions import LABELS
from lab.training.data.shards import render_shards
from lab.training.data.stream import stream
from lab.training.language.batches import PictureTable, build_batch
from lab.training.language.texts import TextMaker
from lab.training.language.train import LanguageLearner, batch_loss
from lab.training.machine import has_bfloat16, num_feeders, precision
from lab.training.model import empty_model
from lab.training.optimizers import Optimizers
from lab.training.tokenizer import build_processor
from lab.training.vision.losses import PartitionBatch
from lab.training.vision.train import VisionLearner, vision_loss

META = torch.device("meta")


def test_a_vision_step_stays_on_its_device() -> None:
    learner = VisionLearner(model_config(400, 3, 1, 2, 0).vision_config).to(META)
    pixels = torch.zeros(4, 3, 168, 168, dtype=torch.uint8)
    labels = torch.zeros(4, PATCHES_PER_PARTITION, len(LABELS), dtype=torch.long)
    batch = PartitionBatch(pixels, labels).to(META)
    loss, _ = vision_loss(learner, batch.pixels, batch.labels, batch.class_sets())
    loss.backward()
    assert loss.device == META
    assert all(p.grad is None or p.grad.device == META for p in learner.parameters())


def test_a_language_step_stays_on_its_device(tmp_path: Path) -> None:
    config = TrainingConfig(folder=tmp_path, num_shards=1, pictures_per_shard=1)
    render_shards(config)
    table, processor = PictureTable(config), build_processor()
    rng = np.random.default_rng(1)
    pictures = table.draw(rng, 2)
    batch = build_batch(table, pictures, TextMaker(processor.tokenizer), rng).to(META)
    learner = LanguageLearner(empty_model(processor)).to(META)
    num_patches = (pictures[0].end - pictures[0].start) * PATCHES_PER_PARTITION
    loss, _ = batch_loss(learner, torch.zeros(2, num_patches, 192, device=META), batch)
    loss.backward()
    assert loss.device == META
    assert all(p.grad is None or p.grad.device == META for p in learner.parameters())


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_bfloat16_where_the_cpu_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    cpu = torch.device("cpu")
    assert has_bfloat16(cpu) == expected
    with precision(cpu):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if expected else torch.float32)
    assert has_bfloat16(torch.device("cuda"))


def test_a_cpu_without_bfloat16_trains_by_adamw_alone() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))
    data = torch.randn(64, 4)
    with_muon, without = (Optimizers(model, 1e-2, has_muon=muon) for muon in (True, False))

    def loss() -> torch.Tensor:
        return (model(data)[:, 0] - data.sum(1)).square().mean()

    first = loss().item()
    for _ in range(200):
        without.step(loss(), 1.0)
    assert loss().item() < 0.05 * first
    with pytest.raises(ValueError, match="differs in bfloat16"):
        without.load_state_dict(with_muon.state_dict())


def _open_draw(size: int) -> Callable[[np.random.Generator], torch.Tensor]:
    return lambda rng: torch.from_numpy(rng.integers(1 << 30, size=size))


def test_every_process_of_a_stream_draws_its_own() -> None:
    def drawn(seed: int) -> list[list[int]]:
        batches = stream(functools.partial(_open_draw, 3), (7, seed), num_processes=2)
        return [next(batches).tolist() for _ in range(4)]

    first = drawn(1)
    assert len({tuple(batch) for batch in first}) == 4
    assert drawn(1) == first and drawn(2) != first


def test_a_gpu_is_fed_by_most_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert num_feeders(torch.device("cuda")) == 14
    assert num_feeders(torch.device("cpu")) == 1
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert num_feeders(torch.device("cuda")) == 1
