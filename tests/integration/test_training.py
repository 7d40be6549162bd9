"""The stages of `jobs/train_embedded.py`, for seconds instead of an hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from lab.training.clock import load_checkpoint
from lab.training.config import TrainingConfig
from lab.training.data.shards import render_shards
from lab.training.export import export
from lab.training.language.train import language_checkpoint, train_language
from lab.training.vision.train import checkpoint_path, train_vision


def config_of(folder: Path, seconds: float) -> TrainingConfig:
    return TrainingConfig(
        folder=folder,
        num_shards=1,
        pictures_per_shard=40,
        vision_minutes=seconds / 60,
        vision_batch=16,
        language_minutes=seconds / 60,
        language_batch=2,
    )


def saved(path: Path) -> dict[str, Any]:
    state = load_checkpoint(path)
    assert state is not None
    return state


def test_stages_train_resume_and_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a compiler: compiling takes longer than these steps.
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    folder = tmp_path / "training"
    short = config_of(folder, 4.0)
    with pytest.raises(ValueError, match="run the stage `shards` first"):
        train_vision(short)
    render_shards(short)
    with pytest.raises(ValueError, match="run the stage `vision`"):
        train_language(short)

    for train, path in (
        (train_vision, checkpoint_path(short)),
        (train_language, language_checkpoint(short)),
    ):
        train(short)
        first = saved(path)
        assert first["step"] > 0
        assert first["elapsed_sec"] >= 4.0
        # Its time is over: another run adds nothing but an update of the file.
        train(short)
        assert saved(path)["step"] == first["step"]
        # Later than the first run ended, however slow the machine.
        train(config_of(folder, first["elapsed_sec"] + 2.0))
        second = saved(path)
        assert second["step"] > first["step"]
        changed = [
            name for name, x in first["model"].items() if not torch.equal(x, second["model"][name])
        ]
        assert len(changed) > len(first["model"]) / 2

    export(short, tmp_path / "model")
    model = LlavaNextForConditionalGeneration.from_pretrained(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    tower = saved(checkpoint_path(short))["model"]
    weight = model.model.vision_tower.state_dict()["embeddings.patch_embedding.weight"]
    torch.testing.assert_close(
        weight.float(), tower["tower.embeddings.patch_embedding.weight"], atol=1e-3, rtol=1e-3
    )
