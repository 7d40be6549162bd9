"""Side by side on one machine: transformers' `generate` and this engine, image bytes in, text out.

Contestants run interleaved, several times over, after one warm-up each; ratios are taken within a
repeat, so that a machine that slows down slows both sides. No cache spans repeats. Both sides run
on the CPU in float32, also where there is a GPU: on two devices the ratio would mean nothing.
"""

from __future__ import annotations

import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from PIL import Image

from pipeline.config import GenerationConfig, InputConfig, JobConfig, OutputConfig, SelectionConfig
from pipeline.cost import Prices
from pipeline.evaluation.gallery import Sample
from pipeline.evaluation.metrics import SetScore, parse_caption, pool
from pipeline.records import ROW_SCHEMA
from pipeline.report import versions
from pipeline.rows import to_table
from pipeline.stages import GenerateStage, PartitionStage, SelectStage
from pipeline.stages.context import StageContext

Contestant = Callable[[Sequence[bytes]], list[str]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all contestants share."""

    model: str = "embedded"
    prompt: str = "Describe the image."
    batch_size: int = 8
    max_new_tokens: int = 32


def transformers_dense(setting: Setting) -> Contestant:
    """The unmodified model: its own processor and `generate`, greedy, float32."""
    from transformers import AutoProcessor, LlavaNextForConditionalGeneration

    from hired_core.models import llava_next

    spec = llava_next.load_spec(setting.model)
    text = llava_next.load_prompt_template(spec).render(setting.prompt)
    processor = AutoProcessor.from_pretrained(spec.path)
    model = LlavaNextForConditionalGeneration.from_pretrained(spec.path, dtype=torch.float32).eval()
    processor.tokenizer.padding_side = "left"

    def caption(batch: Sequence[bytes]) -> list[str]:
        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in batch]
        inputs = processor(
            images=images, text=[text] * len(batch), padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=setting.max_new_tokens, do_sample=False)
        new = ids[:, inputs["input_ids"].shape[1] :]
        texts = processor.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]

    return caption


def ours(setting: Setting, budget: float) -> Contestant:
    """The job's own stages at a token budget, without Ray."""
    config = JobConfig(
        input=InputConfig(input=["-"]),
        output=OutputConfig(output="-"),
        selection=SelectionConfig(budget=budget),
        generation=GenerationConfig(
            max_new_tokens=setting.max_new_tokens, batch_size=setting.batch_size
        ),
    )
    context = StageContext(run_id="-", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0))
    from hired_core.models import llava_next

    spec = llava_next.load_spec(setting.model)
    partition = PartitionStage(context, spec, config.input.decode_limits)
    select, generate = SelectStage(context, config), GenerateStage(context, config)

    def caption(batch: Sequence[bytes]) -> list[str]:
        table = _rows(batch, setting.prompt)
        answered = generate(select(partition(table)))
        return [str(text) for text in answered["text"].to_pylist()]

    return caption


def _rows(batch: Sequence[bytes], prompt: str) -> pa.Table:
    rows = [
        {"image_id": str(i), "row_ids": [str(i)], "prompts": [prompt], "image": data, "stats": []}
        for i, data in enumerate(batch)
    ]
    return to_table(rows, ROW_SCHEMA)


def run_benchmark(
    contestants: dict[str, Contestant], images: Sequence[bytes], *, batch_size: int, repeats: int
) -> dict[str, list[float]]:
    """Images/s of each contestant in each repeat."""
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    for contestant in contestants.values():
        contestant(batches[0])
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            for batch in batches:
                contestant(batch)
            rates[name].append(len(images) / (time.perf_counter() - started))
    return rates


def truth(contestant: Contestant, samples: Sequence[Sample], *, batch_size: int) -> float:
    """F1 of the coloured shapes that a contestant names in rendered scenes of known content."""
    texts = [
        text
        for start in range(0, len(samples), batch_size)
        for text in contestant([s.image for s in samples[start : start + batch_size]])
    ]
    return pool(
        SetScore.of(parse_caption(text).objects, sample.objects)
        for text, sample in zip(texts, samples, strict=True)
    ).f1


def summarise(rates: dict[str, list[float]], f1: dict[str, float]) -> dict[str, Any]:
    """Median and range of each contestant's rate and of its ratio to the first, and its F1."""
    base = next(iter(rates.values()))
    return {
        name: {
            "images_per_sec": _spread(values),
            "ratio": _spread([a / b for a, b in zip(values, base, strict=True)]),
            "f1": f1[name],
        }
        for name, values in rates.items()
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [f"{'':<34}{'images/s':>10}{'F1':>7}   ratio (min to max)"]
    for name, found in summary.items():
        rate, ratio = found["images_per_sec"]["median"], found["ratio"]
        spread = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
        lines.append(f"{name:<34}{rate:>10.2f}{found['f1']:>7.2f}   {spread}")
    return "\n".join(lines)


def environment() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "torch_threads": torch.get_num_threads(),
        "device": "cpu",
        "versions": versions(),
    }
