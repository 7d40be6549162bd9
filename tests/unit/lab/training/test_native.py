"""Training of a model of native resolution: what it learns from is what its family sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import hired_core
from hired_core import GenerationSettings, ReductionSettings
from hired_core.geometry.native import Native
from hired_core.images.partition import partition_image
from lab.rendering.compose import make_picture
from lab.rendering.drawing import draw_picture
from lab.rendering.vocabulary import FIRST_GLYPH
from lab.training.clock import load_checkpoint
from lab.training.config import TrainingConfig
from lab.training.data.partitions import IGNORED
from lab.training.native.language import decoder_checkpoint, make_learner, native_batch, rows_of
from lab.training.native.language import text_maker as maker_of
from lab.training.native.model import geometry_of, open_model
from lab.training.native.pictures import TEXT, NativePictures, Seen, cut_scene, render_scenes
from lab.training.native.vision import TowerLearner, tower_checkpoint, tower_loss
from lab.training.stages import run_stages
from tests.support.native_original import NativeOriginal

CPU = torch.device("cpu")


def config_of(folder: Path, seconds: float = 0.0) -> TrainingConfig:
    return TrainingConfig(
        recipe="qwen2_vl",
        folder=folder,
        num_shards=1,
        pictures_per_shard=6,
        vision_minutes=seconds / 60,
        vision_batch=2,
        language_minutes=seconds / 60,
        language_batch=2,
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    return config_of(tmp_path_factory.mktemp("native"))


def seen_of(geometry: Native, seeds: range) -> Seen:
    pictures = [make_picture("scene", "train", seed) for seed in seeds]
    cut = [cut_scene(picture, geometry) for picture in pictures]
    patches = torch.from_numpy(np.concatenate([patches for patches, _, _ in cut]))
    labels = torch.from_numpy(np.concatenate([labels for _, labels, _ in cut]).astype(np.int64))
    return Seen(patches, labels, [grid for _, _, grid in cut], pictures)


def test_patches_are_those_of_the_family_and_of_transformers(config: TrainingConfig) -> None:
    geometry = geometry_of(config)
    processor = Qwen2VLImageProcessorPil.from_pretrained(config.folder / "empty")
    for seed in range(6):
        picture = make_picture("scene", "train", seed)
        patches, labels, (rows, cols) = cut_scene(picture, geometry)
        image = draw_picture(picture).image
        assert np.array_equal(patches, partition_image(image, geometry))
        theirs = processor(image, do_normalize=False, do_rescale=False, return_tensors="np")
        assert theirs["image_grid_thw"].tolist() == [[1, 2 * rows, 2 * cols]]
        assert len(labels) == len(patches) == 4 * rows * cols <= 4 * 64


def test_labels_lie_where_objects_do(config: TrainingConfig) -> None:
    geometry = geometry_of(config)
    for seed in range(12):
        picture = make_picture("scene", "train", seed)
        _, labels, _ = cut_scene(picture, geometry)
        classes, centre = labels.T
        wanted = {1 + item.class_id for item in picture.objects}
        assert set(classes.tolist()) <= {0, TEXT, IGNORED} | wanted
        assert set(classes[centre == 1].tolist()) == wanted
        assert (classes == TEXT).any() <= bool(picture.signs) and TEXT == FIRST_GLYPH


def test_the_learner_sees_what_the_model_will(config: TrainingConfig) -> None:
    """Logits of packed texts are those of transformers' whole model, prompt by prompt: the same
    patches, rows, positions of row and column, and texts behind the image."""
    native = open_model(config)
    tower = TowerLearner(native).eval()
    seen = seen_of(native.geometry, range(3))
    native.model.model.visual.load_state_dict(native.projector.state_dict(), strict=False)
    folder = config.folder / "whole"
    native.model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((config.folder / "empty" / name).read_bytes())
    original = NativeOriginal(folder)
    maker = maker_of(config, native)
    batch = native_batch(seen, maker, np.random.default_rng(3))
    learner = make_learner(native).eval()
    room = batch.ids.shape[1]
    with torch.no_grad():
        logits = learner(rows_of(tower, seen, CPU), batch).tokens
        for row, picture in enumerate(seen.pictures):
            image = draw_picture(picture).image
            head = original.inputs([image], [native.tokenizer.decode(maker.head) + "<image>"])
            # Texts that the room did not hold have a number and no place.
            for number in sorted(set(batch.blocks[row].tolist()) - {-1, 0}):
                here = batch.blocks[row, -room:] == number
                ids = torch.cat((head["input_ids"], batch.ids[row, here][None]), dim=1)
                more = {
                    "input_ids": ids,
                    "attention_mask": torch.ones_like(ids),
                    "mm_token_type_ids": (ids == original.image_id).int(),
                }
                alone = original.model(**(head | more)).logits[0, -int(here.sum()) :]
                torch.testing.assert_close(logits[row, here], alone, atol=2e-4, rtol=1e-3)


def test_losses_reach_both_layers_that_are_looked_at(config: TrainingConfig) -> None:
    native = open_model(config)
    learner = TowerLearner(native).train()
    seen = seen_of(native.geometry, range(2))
    logits = learner(seen.patches, seen.grids)
    assert len(logits.sets) == 2 and len(logits.kind) == len(seen.patches)
    loss = tower_loss(logits, seen)
    loss.backward()
    assert loss.isfinite()
    for block in (learner.blocks[0], learner.blocks[-1]):
        assert float(block.attn.qkv.weight.grad.abs().sum()) > 0
    # What a right answer costs is little: nothing of the sets, and of patches nothing either.
    classes = seen.labels[:, 0]
    assert float(tower_loss(_right(logits, classes, seen), seen)) < 0.02


def _right(logits: object, classes: torch.Tensor, seen: Seen) -> object:
    from lab.training.native.vision import TowerLogits, _sets

    inside = (classes - 1).clamp(0, 47)
    kind = torch.where(classes == TEXT, 2, ((classes > 0) & (classes < TEXT)).long())
    return TowerLogits(
        kind=20.0 * torch.eye(3)[kind],
        colour=20.0 * torch.eye(8)[inside // 6],
        shape=20.0 * torch.eye(6)[inside % 6],
        centre=20.0 * torch.eye(2)[seen.labels[:, 1]],
        sets=(40.0 * _sets(seen) - 20.0,) * 2,
    )


def test_stages_train_resume_and_export(tmp_path: Path) -> None:
    short = config_of(tmp_path, 0.8)
    with pytest.raises(ValueError, match="run the stage `shards` first"):
        run_stages(["vision"], short)
    run_stages(["shards"], short)
    with pytest.raises(ValueError, match="run the stage `vision`"):
        run_stages(["language"], short)
    run_stages(["vision", "language"], short)
    for path in (tower_checkpoint(short), decoder_checkpoint(short)):
        state = load_checkpoint(path)
        assert state is not None and state["step"] > 0 and state["elapsed_sec"] >= 0.8
    longer = config_of(tmp_path, state["elapsed_sec"] + 0.5)
    run_stages(["language"], longer)
    again = load_checkpoint(decoder_checkpoint(short))
    assert again is not None and again["step"] > state["step"]
    run_stages(["export"], longer)
    folder = tmp_path / "model"
    weights = (folder / "model.safetensors").stat().st_size
    assert weights < 8e6
    # The file reads as its family, and says what transformers says.
    image = draw_picture(make_picture("scene", "train", 2)).image
    new = GenerationSettings(max_new_tokens=6)
    settings = ReductionSettings(method="dense", budget=1)
    said = hired_core.load(str(folder), settings=settings, generation=new).caption(image, "What?")
    text = "<s>USER: <image>\nWhat? ASSISTANT:"
    assert NativeOriginal(folder).generate([image], [text], 6)[0][0] == said.token_ids


def test_pictures_are_changed_a_little_at_each_draw(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    geometry = geometry_of(config)
    render_scenes(config, geometry, 1)
    pictures = NativePictures(config, geometry)
    one, other = (pictures.draw(np.random.default_rng(seed), 3) for seed in (1, 1))
    assert torch.equal(one.patches, other.patches)
    assert pictures.draw(np.random.default_rng(2), 3).grids != [] and len(one.pictures) == 3
    for picture, grid in zip(one.pictures, one.grids, strict=True):
        assert geometry.token_grid((picture.height, picture.width)) == grid
