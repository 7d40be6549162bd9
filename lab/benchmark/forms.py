"""What it costs to hold texts to a form: `python -m lab.benchmark.forms --images 500`.

The embedded model, without a form and under three schemas, over the same rendered images: how many
texts are valid, and how fast it goes. Images are encoded once before. Texts differ in length from
form to form, so that tokens per second say more of what masks cost than images per second do.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

import hired_core
from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.form import Form
from hired_core.language.generation import GenerationSettings
from hired_core.vlm.language_half import LanguageHalf
from hired_core.vlm.vision_half import KeptTokens
from hired_core.vlm.vlm import Vlm
from lab.environment import environment
from lab.rendering.samples import make_samples

__all__ = ["SCHEMAS", "measure"]

_COLOURS: Final = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "black", "white"]
_SHAPES: Final = ["circle", "square", "triangle", "star", "ring", "cross", "sign"]

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "caption": {
        "type": "object",
        "properties": {"caption": {"type": "string", "maxLength": 48}},
        "required": ["caption"],
    },
    "objects": {
        "type": "object",
        "properties": {
            "objects": {"type": "array", "items": {"enum": _SHAPES}, "maxItems": 4},
            "count": {"type": "integer", "minimum": 0, "maximum": 20},
        },
        "required": ["objects", "count"],
    },
    "nested": {
        "type": "object",
        "properties": {
            "colour": {"enum": _COLOURS},
            "has_text": {"type": "boolean"},
            "largest": {
                "type": "object",
                "properties": {
                    "shape": {"enum": _SHAPES},
                    "share": {"type": "number", "minimum": 0, "maximum": 1},
                    "sign": {"type": ["string", "null"], "maxLength": 8},
                },
                "required": ["shape", "share", "sign"],
            },
        },
        "required": ["colour", "has_text", "largest"],
    },
}
PROMPT: Final = "Describe the image."


def measure(num_images: int, *, max_new_tokens: int, num_runs: int) -> dict[str, Any]:
    """What is written to the file."""
    images = tuple(sample.data for sample in make_samples(num_images))
    vlm = hired_core.load(max_new_tokens=max_new_tokens)
    started = time.perf_counter()
    kept = vlm.reduce(images)
    encode_sec = time.perf_counter() - started
    forms: dict[str, dict[str, Any] | None] = {"none": None, **SCHEMAS}
    found = {
        name: _timed(
            _held_to(vlm, GenerationSettings(max_new_tokens=max_new_tokens, schema=schema)),
            kept,
            schema,
            num_runs,
        )
        for name, schema in forms.items()
    }
    return {
        "images": num_images,
        "max_new_tokens": max_new_tokens,
        "prompt": PROMPT,
        "encode_sec": encode_sec,
        "environment": environment(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "forms": found,
        "tokens_per_sec_to_none": {
            name: each["tokens_per_sec"] / found["none"]["tokens_per_sec"]
            for name, each in found.items()
        },
    }


def _held_to(vlm: Vlm, generation: GenerationSettings) -> LanguageHalf:
    """The same weights, in an engine of its own."""
    engine = vlm.language.backend
    assert isinstance(engine, SlotBackend), "the default"
    return LanguageHalf(vlm.language.builder, SlotBackend(engine.model, generation, engine.layout))


def _timed(
    language: LanguageHalf,
    kept: Sequence[KeptTokens],
    schema: dict[str, Any] | None,
    num_runs: int,
) -> dict[str, Any]:
    """Of the fastest of several runs, after one over some of the images."""
    language.ask_each(kept[:4], [PROMPT] * len(kept[:4]))
    seconds: list[float] = []
    for _ in range(num_runs):
        started = time.perf_counter()
        answers = language.ask_each(kept, [PROMPT] * len(kept))
        seconds.append(time.perf_counter() - started)
    form = None if schema is None else Form(schema)
    faults = [fault for each in answers if form is not None and (fault := form.fault(each.text))]
    tokens = sum(len(each.token_ids) for each in answers)
    return {
        "valid": len(answers) - len(faults),
        "faults": faults[:3],
        "tokens_per_text": tokens / len(answers),
        "language_sec": seconds,
        "images_per_sec": len(answers) / min(seconds),
        "tokens_per_sec": tokens / min(seconds),
        "examples": [each.text for each in answers[:3]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.benchmark.forms", description=__doc__)
    add = parser.add_argument
    add("--images", type=int, default=500)
    add("--max-new-tokens", type=int, default=128)
    add("--runs", type=int, default=5, help="of each, the fastest counts")
    add("--output", type=Path, default=Path("out/structured.json"))
    options = parser.parse_args()
    found = measure(options.images, max_new_tokens=options.max_new_tokens, num_runs=options.runs)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, each in found["forms"].items():
        print(
            f"{name:>8}  {each['valid']} of {options.images} valid, "
            f"{each['images_per_sec']:.2f} images/s, {each['tokens_per_sec']:.0f} tokens/s"
        )


if __name__ == "__main__":
    main()
