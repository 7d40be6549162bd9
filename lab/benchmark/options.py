"""The command line of `jobs/benchmark.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import torch

from lab.benchmark.contestants.models import PRESETS
from lab.benchmark.contestants.subject import Setting
from pipeline.settings.dtypes import DTYPES

PARTS: Final = ("end-to-end", "batches", "stages", "roofline", "memory")

T = TypeVar("T")

_TEACHES: Final = """\
Parts:
  end-to-end  transformers dense in batches of 8 and one by one, this engine dense and at each
              budget: images/s, ratios to the first within a repeat, first token, phases, memory
  batches     the paper's Table 4: both at each of --batch-sizes, and this engine at its own choice
  stages      cutting a 1344 x 1008 JPEG, and the vision tower, each beside transformers' way
  memory      predicted beside measured peak under six memory limits, each in its own process
  roofline    the least time arithmetic and memory allow here, beside what end-to-end took

Examples:
  python jobs/benchmark.py                                       the shipped model, and its truth
  python jobs/benchmark.py --model 44m --parts end-to-end,stages,roofline
  python jobs/benchmark.py --model 7b --parts batches --memory-cap-gib 24

Contestants take turns; ratios are taken within a repeat and quoted with their spread. A contestant
that runs out of GPU memory is reported as such and the run goes on. Raw figures are written to
--output after every repeat, a table in Markdown beside it at the end; --resume goes on from them.
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for, checked."""

    setting: Setting
    parts: tuple[str, ...]
    num_images: int
    repeats: int
    stage_repeats: int
    budgets: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    contestants: tuple[str, ...]
    memory_cap_gib: float | None
    output: Path
    resume: bool


def parse(arguments: list[str] | None, *, output: Path) -> Options:
    """Options of the command line; on what cannot be, one line and exit code 2."""
    found = _parser(output).parse_args(arguments)
    device = found.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = found.dtype
    if dtype == "auto":
        dtype = "float16" if device == "cuda" else "float32"
    setting = Setting(
        model=found.model, device=device, dtype=dtype, max_new_tokens=found.max_new_tokens
    )
    return Options(
        setting=setting,
        parts=found.parts,
        num_images=found.num_images,
        repeats=found.repeats,
        stage_repeats=found.stage_repeats,
        budgets=found.budgets,
        batch_sizes=found.batch_sizes,
        contestants=found.contestants,
        memory_cap_gib=found.memory_cap_gib,
        output=found.output,
        resume=found.resume,
    )


def _parser(output: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="transformers' generate and this engine side by side, image bytes to text.",
        epilog=_TEACHES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    presets = ", ".join(PRESETS)
    add("--model", default="embedded", help=f"{presets} (random weights), embedded, folder or id")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: a GPU if any")
    add("--dtype", default="auto", choices=("auto", *DTYPES), help="float32; on a GPU float16")
    add("--parts", type=_list(_part), default=("end-to-end",), help="comma-separated; see below")
    add("--num-images", type=_positive, default=32, help="distinct images, 672 x 672; default 32")
    add("--max-new-tokens", type=_positive, default=16, help="per image; default 16")
    add("--repeats", type=_positive, default=5, help="turns of each contestant; default 5")
    add("--stage-repeats", type=_positive, default=15, help="of each stage; default 15")
    add("--budgets", type=_list(_budget), default=(1.0, 0.4, 0.2, 0.1), help="1 is dense")
    add("--batch-sizes", type=_list(_positive), default=(1, 2, 4), help="of the part batches")
    add("--contestants", type=_list(str), default=(), help="only those whose names hold these")
    add("--memory-cap-gib", type=float, help="use no more of the GPU than this")
    add("--output", type=Path, default=output, help=f"raw figures; default {output.name}")
    add("--resume", action="store_true", help="go on from --output, if its setting is the same")
    return parser


def _list(item: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def parse_all(text: str) -> tuple[T, ...]:
        return tuple(item(part.strip()) for part in text.split(",") if part.strip())

    return parse_all


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"no part {text!r}; there are {', '.join(PARTS)}")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _budget(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction above 0, or 1 for dense")
    return value
