"""What the trained model can do, dense, on validation pictures: numbers for its card.

Answers come from `transformers.generate`, not from this project's engine. Accuracy on the test
split, by method and budget, is `hired evaluate`'s work.
"""

from __future__ import annotations

import io
import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from lab.questions import BenchmarkImage
from lab.rendering import render
from lab.rendering.vocabulary import BAR, FIRST_GLYPH, FIRST_KEY
from lab.training.config import FEATURE_LAYER, TrainingConfig
from lab.training.data.partitions import IGNORED, LABELS
from lab.training.data.shards import open_shard
from lab.training.export import EMBEDDED
from lab.training.tokenizer import prompt
from lab.training.vision.train import VisionLearner, load_learner, normalise

__all__ = ["answer_all", "measure", "measure_language", "measure_vision"]

_log = logging.getLogger(__name__)
_NUM_PARTITIONS = 1024
_NUM_TOP = 14


def measure(config: TrainingConfig, num_questions: int = 400) -> None:
    """Tells the measures as JSON and keeps them beside the checkpoints."""
    measures = {
        "vision": measure_vision(config),
        "language": measure_language(EMBEDDED, num_questions),
    }
    text = json.dumps(measures, indent=2)
    (config.folder / "metrics.json").write_text(text)
    _log.info("%s", text)


def measure_vision(config: TrainingConfig) -> dict[str, float]:
    """Patch accuracy, F1 of the CLS set, and where the CLS attention of two layers lies."""
    learner, trained = load_learner(config)
    shard = open_shard(config, -1)
    labels = torch.from_numpy(shard.labels[:_NUM_PARTITIONS].astype(np.int64))
    is_full = torch.zeros(len(shard.labels), dtype=torch.bool)
    is_full[torch.from_numpy(shard.starts[:-1])] = True
    patch_logits, set_logits, attention = _run_tower(learner.eval(), shard.pixels[:_NUM_PARTITIONS])
    result = dict(trained)
    for where, rows in (("sub_image", ~is_full), ("full_image", is_full)):
        kept = rows[:_NUM_PARTITIONS]
        result |= {
            f"{name}_{where}": value
            for name, value in _patch_shares(patch_logits[kept], labels[kept]).items()
        }
    classes = torch.where(labels[..., 0] == IGNORED, 0, labels[..., 0])
    sets = torch.zeros(len(classes), set_logits.shape[1] + 1, dtype=torch.bool)
    sets = sets.scatter_(1, classes, True)[:, 1:]
    found = set_logits > 0
    result["cls_set_f1"] = float(2 * (found & sets).sum() / (found.sum() + sets.sum()))
    is_content = classes > 0
    some = is_content.sum(1) >= _NUM_TOP
    result["content_base_rate"] = _mean(is_content[some])
    for layer, scores in attention.items():
        top = scores.topk(_NUM_TOP, dim=1).indices
        result[f"top_attention_on_content_layer_{layer}"] = _mean(is_content.gather(1, top)[some])
    return result


def measure_language(folder: Path, num_questions: int) -> dict[str, float]:
    """Share of exactly right answers by task."""
    processor = AutoProcessor.from_pretrained(folder)
    model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    images = list(render("validation", num_questions))
    right: dict[str, list[bool]] = defaultdict(list)
    for image, answer in zip(images, answer_all(model, processor, images), strict=True):
        question = image.questions[0]
        right[question.task].append(answer == question.answers[0])
    return {task: float(np.mean(values)) for task, values in right.items()}


def answer_all(
    model: LlavaNextForConditionalGeneration,
    processor: Any,
    images: list[BenchmarkImage],
    batch_size: int = 16,
) -> list[str]:
    """Answers to the first question about each image, greedy and dense."""
    answers: list[str] = []
    for start in range(0, len(images), batch_size):
        chunk = images[start : start + batch_size]
        inputs = processor(
            images=[Image.open(io.BytesIO(item.data)) for item in chunk],
            text=[prompt(item.questions[0].text) for item in chunk],
            padding=True,
            return_tensors="pt",
        )
        output = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
        texts = processor.tokenizer.batch_decode(output, skip_special_tokens=True)
        answers += [text.strip() for text in texts]
    return answers


def _patch_shares(patch_logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Shares of right patches by what they show."""
    parts = patch_logits.split(list(LABELS.values()), dim=-1)
    right = {
        name: part.argmax(-1) == labels[..., column]
        for column, (name, part) in enumerate(zip(LABELS, parts, strict=True))
    }
    classes = labels[..., 0]
    is_glyph = (classes >= FIRST_GLYPH) & (classes < FIRST_KEY)
    shares = {
        "objects": right["class"][(classes > 0) & (classes < FIRST_GLYPH)],
        "glyphs": right["class"][is_glyph],
        "places": right["place"][is_glyph],
        "owners": right["owner"][is_glyph],
        "keys": right["class"][(classes >= FIRST_KEY) & (classes < BAR)],
        "levels": right["level"][classes == BAR],
    }
    return {name: _mean(values) for name, values in shares.items()}


def _run_tower(
    learner: VisionLearner, pixels: np.ndarray[Any, np.dtype[np.uint8]]
) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Patch and set logits, and `[P, N]` CLS attention, summed over heads, of two layers."""
    outputs = list(_tower_batches(learner, pixels))
    layers = {layer: torch.cat([output[2][layer] for output in outputs]) for layer in outputs[0][2]}
    patch_logits = torch.cat([output[0] for output in outputs])
    return patch_logits, torch.cat([output[1] for output in outputs]), layers


def _tower_batches(
    learner: VisionLearner, pixels: np.ndarray[Any, np.dtype[np.uint8]]
) -> Iterator[tuple[Tensor, Tensor, dict[int, Tensor]]]:
    for start in range(0, len(pixels), 64):
        batch = normalise(torch.from_numpy(pixels[start : start + 64].copy()))
        with torch.inference_mode():
            logits = learner(batch)
            tower, attention = learner.tower, {}
            hidden = tower.pre_layrnorm(tower.embeddings(batch))
            for index, layer in enumerate(tower.encoder.layers[: FEATURE_LAYER + 1]):
                if index in (0, FEATURE_LAYER):
                    attention[index] = _cls_attention(layer, hidden)
                hidden = layer(hidden, attention_mask=None)
        yield logits.patches, logits.classes, attention


def _cls_attention(layer: Any, hidden: Tensor) -> Tensor:
    """`[P, N]`: attention of CLS to each patch, summed over heads."""
    heads, scale = layer.self_attn.num_heads, layer.self_attn.scale
    normed = layer.layer_norm1(hidden)
    query = layer.self_attn.q_proj(normed[:, :1]).unflatten(-1, (heads, -1)).transpose(1, 2)
    key = layer.self_attn.k_proj(normed).unflatten(-1, (heads, -1)).transpose(1, 2)
    attention: Tensor = (query * scale @ key.transpose(2, 3)).softmax(-1)[:, :, 0, 1:].sum(1)
    return attention


def _mean(values: Tensor) -> float:
    return float(values.float().mean()) if values.numel() else 0.0
