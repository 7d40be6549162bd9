"""What a run took, beside the least it could have taken on this device."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from transformers import AutoConfig

from hired_core.choices import Quantization
from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.sequence import visual_sequence
from hired_core.images.decode import decode_image
from hired_core.methods.budget import token_budget_to_count
from lab.benchmark.contestants.registry import Entry
from lab.benchmark.contestants.subject import Subject
from lab.benchmark.roofline.ceilings import Ceilings, measure_ceilings
from lab.benchmark.roofline.work import (
    Work,
    decode_work,
    prefill_work,
    text_shape,
    vision_shape,
    vision_work,
)
from pipeline.resources.gpus import GPUS, match_name


def roofline(
    subject: Subject,
    images: Sequence[bytes],
    ran: Mapping[Entry, Mapping[str, Any]],
    ceilings: Ceilings | None = None,
) -> dict[str, Any]:
    """Beside what contestants took, the least it could be on this device.

    Args:
        ran: summaries of the contestants that ran.
        ceilings: if they have been measured.

    Raises:
        ValueError: for weights in eight bits, which are read and made wide again.
    """
    if subject.setting.quantization != Quantization():
        raise ValueError(
            "parts: roofline counts weights as the model computes; leave --quantize out"
        )
    config = AutoConfig.from_pretrained(subject.spec.path)
    sizes = [(image.height, image.width) for image in map(decode_image, images)]
    layouts = [subject.spec.layout(*size) for size in sizes]
    partitions = max(layout.num_partitions for layout in layouts)
    ceilings = ceilings or measure_ceilings(
        vision_shape(config.vision_config, subject.spec.feature_layer),
        text_shape(config),
        partitions=partitions,
        length=max(_prompt(subject, layout, 1.0)[1] for layout in layouts),
        device=subject.device,
        dtype=subject.dtype,
    )
    return {
        "ceilings": asdict(ceilings),
        "data_sheet": _data_sheet(subject.device),
        "contestants": {
            entry.name: _phases(subject, config, layouts, entry, found, ceilings)
            for entry, found in ran.items()
        },
    }


def _data_sheet(device: torch.device) -> dict[str, Any] | None:
    """What the vendor promises of the card; None where that is not known."""
    if device.type != "cuda":
        return None
    name = match_name(torch.cuda.get_device_name(device), GPUS)
    return None if name is None else {"name": name} | asdict(GPUS[name])


def _phases(
    subject: Subject,
    config: Any,
    layouts: Sequence[PartitionLayout],
    entry: Entry,
    found: Mapping[str, Any],
    ceilings: Ceilings,
) -> dict[str, dict[str, float]]:
    """Means over images; weights are read once for all slots that are busy.

    Of more slots than images most are idle, and share nothing.
    """
    text, vision = (
        text_shape(config),
        vision_shape(config.vision_config, subject.spec.feature_layer),
    )
    slots, itemsize = min(found["slots"], len(layouts)), subject.dtype.itemsize
    prompts = [_prompt(subject, layout, entry.budget) for layout in layouts]
    new_tokens = round(found["tokens_per_sec"]["median"] / found["images_per_sec"]["median"])
    works = {
        "vision": [
            vision_work(vision, partitions=x.num_partitions, images=slots, itemsize=itemsize)
            for x in layouts
        ],
        "prefill": [
            prefill_work(text, length=length, kept=kept, slots=slots, itemsize=itemsize)
            for kept, length in prompts
        ],
        "decode": [
            decode_work(text, length=length, new_tokens=new_tokens, slots=slots, itemsize=itemsize)
            for _, length in prompts
        ],
    }
    rates = {"vision": ceilings.vision_flop_per_sec}
    return {
        phase: _beside(
            _mean(each),
            rates.get(phase, ceilings.prefill_flop_per_sec),
            ceilings.bytes_per_sec,
            found["sec_per_image"][f"{phase}_sec"],
        )
        for phase, each in works.items()
    }


def _mean(works: Sequence[Work]) -> Work:
    return Work(
        flop=statistics.fmean(work.flop for work in works),
        bytes=statistics.fmean(work.bytes for work in works),
    )


def _beside(work: Work, flop_per_sec: float, bytes_per_sec: float, sec: float) -> dict[str, float]:
    least = work.least_sec(flop_per_sec=flop_per_sec, bytes_per_sec=bytes_per_sec)
    return {
        "gflop": work.flop / 1e9,
        "mbytes": work.bytes / 1e6,
        "least_ms": 1e3 * least,
        "ms": 1e3 * sec,
        "share": least / sec if sec else 0.0,
    }


def _prompt(subject: Subject, layout: PartitionLayout, budget: float) -> tuple[int, int]:
    """(visual tokens, positions) of a prompt at a budget."""
    before, after = subject.template.token_ids(subject.setting.prompt)
    words = len(before) + len(after)
    own = layout.num_partitions * layout.num_tokens
    count = token_budget_to_count(budget, nominal=subject.spec.nominal_tokens, own=own)
    if count is not None:
        kept = min(count, layout.num_valid)
        return kept, words + kept
    order = layout.place[layout.dense().valid].sort().values
    return len(order), words + visual_sequence(order, layout, "all").shape[0]
