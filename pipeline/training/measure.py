"""What the trained model can do, dense, on held-out scenes: numbers for its card."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from pipeline.evaluation.drawing import NUM_MASK_CLASSES, draw_scene
from pipeline.evaluation.metrics import (
    SetScore,
    character_matches,
    content_of,
    parse_caption,
    pool,
)
from pipeline.evaluation.scenes import NUM_OBJECT_CLASSES, Scene, make_scene
from pipeline.evaluation.texts import CAPTION_PROMPTS, caption, questions
from pipeline.training.config import FEATURE_LAYER, VALIDATION_SEED, TrainingConfig
from pipeline.training.export import EMBEDDED
from pipeline.training.partitions import IGNORED
from pipeline.training.shards import open_shard
from pipeline.training.tokenizer import prompt
from pipeline.training.vision import VisionLearner, load_learner, normalise

__all__ = ["answer_all", "measure", "measure_language", "measure_vision"]

_NUM_PARTITIONS = 1024


def measure(config: TrainingConfig, num_scenes: int = 160) -> None:
    """Prints the measures as JSON and keeps them beside the checkpoints."""
    text = json.dumps(
        {
            "vision": measure_vision(config),
            "language": measure_language(EMBEDDED, num_scenes),
        },
        indent=2,
    )
    (config.folder / "metrics.json").write_text(text)
    print(text, flush=True)


def measure_vision(config: TrainingConfig) -> dict[str, float]:
    """Patch accuracy, F1 of the CLS set, and where the CLS attention of two layers lies."""
    learner, trained = load_learner(config)
    learner.eval()
    shard = open_shard(config, -1)
    classes = torch.from_numpy(shard.classes[:_NUM_PARTITIONS].astype(np.int64))
    is_full = torch.zeros(len(shard.classes), dtype=torch.bool)
    is_full[torch.from_numpy(shard.starts[:-1])] = True
    is_full = is_full[:_NUM_PARTITIONS]
    patch_logits, set_logits, attention = _run_tower(learner, shard.pixels[:_NUM_PARTITIONS])
    is_content = (classes > 0) & (classes != IGNORED)
    is_glyph = is_content & (classes > NUM_OBJECT_CLASSES)
    right = patch_logits.argmax(-1) == classes
    found, sets = set_logits > 0, _class_sets(classes)
    result: dict[str, float] = dict(trained)
    for where, rows in (("sub_image", ~is_full), ("full_image", is_full)):
        row_mask = rows[:, None].expand_as(classes)
        for what, patches in (("object", is_content & ~is_glyph), ("glyph", is_glyph)):
            result[f"{what}_patch_accuracy_{where}"] = _mean(right[patches & row_mask])
    for what, columns in (("object", slice(0, NUM_OBJECT_CLASSES)), ("glyph", slice(48, None))):
        overlap = (found & sets)[:, columns].sum()
        total = found[:, columns].sum() + sets[:, columns].sum()
        result[f"cls_set_f1_{what}"] = float(2 * overlap / total.clamp(min=1))
    some = is_content.any(1)
    result["content_base_rate"] = _mean(is_content[some])
    for layer, scores in attention.items():
        top = scores.topk(6, dim=1).indices
        result[f"top_attention_on_content_layer_{layer}"] = _mean(is_content.gather(1, top)[some])
    return result


def measure_language(folder: Path, num_scenes: int) -> dict[str, float]:
    """Captions and answers of `transformers.generate` on the first held-out scenes."""
    processor = AutoProcessor.from_pretrained(folder)
    model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    scenes = [make_scene(VALIDATION_SEED + i) for i in range(num_scenes)]
    texts = answer_all(model, processor, [(scene, CAPTION_PROMPTS[0]) for scene in scenes])
    scores, right_chars, num_chars, exact, ended = [], 0, 0, 0, 0
    for scene, (text, has_ended) in zip(scenes, texts, strict=True):
        said, true = parse_caption(text), content_of(scene)
        scores.append(SetScore.of(said.objects, true.objects))
        right, total = character_matches(said.signs, true.signs)
        right_chars, num_chars = right_chars + right, num_chars + total
        exact += text == caption(scene)
        ended += has_ended
    result = {
        "num_scenes": float(num_scenes),
        "caption_f1": pool(scores).f1,
        "caption_sign_characters": right_chars / max(1, num_chars),
        "caption_exact": exact / num_scenes,
        "caption_ended": ended / num_scenes,
    }
    return result | _measure_questions(model, processor, scenes)


def answer_all(
    model: LlavaNextForConditionalGeneration,
    processor: Any,
    pairs: list[tuple[Scene, str]],
    batch_size: int = 16,
) -> list[tuple[str, bool]]:
    """(text, whether it ended by itself) for each scene and question, greedy and dense."""
    results = []
    for start in range(0, len(pairs), batch_size):
        chunk = pairs[start : start + batch_size]
        inputs = processor(
            images=[draw_scene(scene) for scene, _ in chunk],
            text=[prompt(text) for _, text in chunk],
            padding=True,
            return_tensors="pt",
        )
        output = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
        ended = (output == processor.tokenizer.eos_token_id).any(1).tolist()
        texts = processor.tokenizer.batch_decode(output, skip_special_tokens=True)
        results += [(text.strip(), end) for text, end in zip(texts, ended, strict=True)]
    return results


def _measure_questions(
    model: LlavaNextForConditionalGeneration, processor: Any, scenes: list[Scene]
) -> dict[str, float]:
    """Share of exactly right answers by kind of question, and of right sign characters."""
    asked = [
        (scene, question)
        for scene in scenes
        for question in questions(scene, np.random.default_rng(scene.seed))
    ]
    answers = answer_all(model, processor, [(scene, question.text) for scene, question in asked])
    right: dict[str, list[bool]] = defaultdict(list)
    characters = np.zeros(2, dtype=np.int64)
    for (_, question), (text, _) in zip(asked, answers, strict=True):
        right[question.kind].append(text == question.answer)
        if question.kind == "sign":
            characters += character_matches([text], [question.answer])
    shares = {f"answer_{kind}": float(np.mean(values)) for kind, values in right.items()}
    return shares | {"answer_sign_characters": float(characters[0] / max(1, characters[1]))}


def _run_tower(
    learner: VisionLearner, pixels: np.ndarray[Any, np.dtype[np.uint8]]
) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Patch and set logits, and `[P, N]` CLS attention, summed over heads, of layers 0 and 4."""
    outputs = list(_tower_batches(learner, pixels))
    patch_logits = torch.cat([output[0] for output in outputs])
    set_logits = torch.cat([output[1] for output in outputs])
    layers = outputs[0][2]
    return (
        patch_logits,
        set_logits,
        {layer: torch.cat([output[2][layer] for output in outputs]) for layer in layers},
    )


def _tower_batches(
    learner: VisionLearner, pixels: np.ndarray[Any, np.dtype[np.uint8]]
) -> Iterator[tuple[Tensor, Tensor, dict[int, Tensor]]]:
    for start in range(0, len(pixels), 64):
        batch = normalise(torch.from_numpy(pixels[start : start + 64].copy()))
        with torch.inference_mode():
            patch_logits, _, set_logits = learner(batch)
            tower, attention = learner.tower, {}
            hidden = tower.pre_layrnorm(tower.embeddings(batch))
            for index, layer in enumerate(tower.encoder.layers[: FEATURE_LAYER + 1]):
                if index in (0, FEATURE_LAYER):
                    attention[index] = _cls_attention(layer, hidden)
                hidden = layer(hidden, attention_mask=None)
        yield patch_logits, set_logits, attention


def _cls_attention(layer: Any, hidden: Tensor) -> Tensor:
    """`[P, N]`: attention of CLS to each patch, summed over heads."""
    heads, scale = layer.self_attn.num_heads, layer.self_attn.scale
    normed = layer.layer_norm1(hidden)
    query = layer.self_attn.q_proj(normed[:, :1]).unflatten(-1, (heads, -1)).transpose(1, 2)
    key = layer.self_attn.k_proj(normed).unflatten(-1, (heads, -1)).transpose(1, 2)
    attention: Tensor = (query * scale @ key.transpose(2, 3)).softmax(-1)[:, :, 0, 1:].sum(1)
    return attention


def _class_sets(classes: Tensor) -> Tensor:
    """`[P, classes - 1]` bool: which classes some patch of a partition shows."""
    clear = torch.where(classes == IGNORED, 0, classes)
    sets = torch.zeros(len(clear), NUM_MASK_CLASSES, dtype=torch.bool)
    return sets.scatter_(1, clear, True)[:, 1:]


def _mean(values: Tensor) -> float:
    return float(values.float().mean()) if values.numel() else 0.0
