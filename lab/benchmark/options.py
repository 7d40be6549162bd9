"""Typed settings of a benchmark, and its command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from hired_core.choices import Quantization, WeightFormat
from hired_core.errors import require
from hired_core.methods.registry import METHODS
from pipeline.command_line.cli import parse_sections
from pipeline.command_line.manual import Manual
from pipeline.rows.errors import ConfigError

if TYPE_CHECKING:
    from lab.benchmark.contestants.subject import Setting

__all__ = ["BenchmarkConfig", "Options", "parse"]

PARTS: Final = ("end-to-end", "batches", "stages", "roofline", "memory", "decisions")

T = TypeVar("T")

_TEACHES: Final = """\
Parts:
  end-to-end  transformers dense in batches of 8 and one by one, this engine dense and at each
              budget: images/s, ratios to the first within a repeat, first token, phases, memory
  batches     the paper's Table 4: both at each of --batch-sizes, and this engine at its own choice
  stages      cutting a 1344 x 1008 JPEG, and the vision tower, each beside transformers' way
  memory      predicted beside measured peak under six memory limits, each in its own process
  decisions   what every method's own choice costs, on drawn evidence of LLaVA-Next-7B's sizes
  roofline    the least time arithmetic and memory allow here, beside what end-to-end took

Contestants take turns; ratios are taken within a repeat and quoted with their spread. A contestant
that runs out of GPU memory is told as such and the run goes on. Raw figures are written to --output
after every repeat, a table in Markdown beside it at the end. Examples:
  hired benchmark                                              the shipped model, and its truth
  hired benchmark --model 44m --parts end-to-end,stages,roofline
  hired benchmark --model 7b --parts batches --memory-cap-gib 24"""


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Benchmark"""

    model: str = "embedded"
    """embedded; 44m, 44m-qwen2_vl, 7b, mistral-7b, 13b: drawn; a folder or id."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """'auto': a GPU if there is one."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """'auto': float32, on a GPU float16."""
    quantize: WeightFormat | None = None
    """This engine's decoder layers in 8 bits; transformers' stay as they are."""
    quantize_vision: WeightFormat | None = None
    """The same of the vision tower's layers."""
    parts: str = "end-to-end"
    """Comma-separated; see below."""
    num_images: int = 32
    """Distinct images."""
    side: int = 672
    """Pixels along a side of them; the embedded model is shown samples."""
    max_new_tokens: int = 16
    """Tokens generated for an image."""
    repeats: int = 5
    """Turns of each contestant."""
    stage_repeats: int = 15
    """Turns of each stage."""
    methods: str = "hired"
    """Comma-separated, of the part end-to-end; docs/methods.md lists them."""
    budgets: str = "1.0,0.4,0.2,0.1"
    """Comma-separated fractions; 1 is dense."""
    batch_sizes: str = "1,2,4"
    """Comma-separated; of the part batches."""
    contestants: str = ""
    """Comma-separated: only those whose names hold these."""
    memory_cap_gib: float | None = None
    """Use no more of the GPU than this."""
    output: Path = Path("out/benchmark.json")
    """Raw figures."""
    resume: bool = False
    """Go on from --output, if its setting is the same."""

    def __post_init__(self) -> None:
        for key in ("num_images", "side", "max_new_tokens", "repeats", "stage_repeats"):
            require(getattr(self, key) > 0, key, getattr(self, key), "1 or more")
        for part in _list(str, "parts", self.parts):
            if part not in PARTS:
                raise ConfigError(f"parts: no part {part!r}; there are {', '.join(PARTS)}")
        budgets = _list(float, "budgets", self.budgets)
        fractions = bool(budgets) and all(0 < budget <= 1 for budget in budgets)
        require(fractions, "budgets", self.budgets, "fractions above 0, and 1 for dense")
        methods = _list(str, "methods", self.methods)
        require(bool(methods), "methods", self.methods, "at least one")
        for method in methods:
            if method not in METHODS:
                raise ConfigError(f"methods: no {method!r}; there are {', '.join(METHODS)}")
        sizes = _list(int, "batch_sizes", self.batch_sizes)
        whole = all(size > 0 for size in sizes)
        require(whole, "batch_sizes", self.batch_sizes, "whole numbers above 0")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for, checked, and filled in for this machine."""

    setting: Setting
    parts: tuple[str, ...]
    num_images: int
    side: int
    repeats: int
    stage_repeats: int
    methods: tuple[str, ...]
    budgets: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    contestants: tuple[str, ...]
    memory_cap_gib: float | None
    output: Path
    resume: bool


_MANUAL: Final = Manual(
    command="benchmark",
    usage="[--model NAME] [--parts A,B] [OPTION]...",
    description="transformers' generate and this engine side by side, image bytes to text.",
    common=(
        *("model", "device", "dtype", "parts", "num_images", "side", "max_new_tokens"),
        *("quantize", "quantize_vision"),
        *(
            "repeats",
            "stage_repeats",
            "methods",
            "budgets",
            "batch_sizes",
            "contestants",
            "memory_cap_gib",
        ),
        *("output", "resume"),
    ),
    more=_TEACHES,
)


def parse(argv: Sequence[str]) -> Options:
    """The options that `argv` and the files it names describe.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    config: BenchmarkConfig = parse_sections(argv, {"it": BenchmarkConfig}, _MANUAL)["it"]
    return Options(
        setting=_setting(config),
        parts=_list(str, "parts", config.parts),
        num_images=config.num_images,
        side=config.side,
        repeats=config.repeats,
        stage_repeats=config.stage_repeats,
        methods=_list(str, "methods", config.methods),
        budgets=_list(float, "budgets", config.budgets),
        batch_sizes=_list(int, "batch_sizes", config.batch_sizes),
        contestants=_list(str, "contestants", config.contestants),
        memory_cap_gib=config.memory_cap_gib,
        output=config.output,
        resume=config.resume,
    )


def _setting(config: BenchmarkConfig) -> Setting:
    # Here, so that help does not wait for torch.
    import torch

    from lab.benchmark.contestants.subject import Setting

    device: str = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype: str = config.dtype
    if dtype == "auto":
        dtype = "float16" if device == "cuda" else "float32"
    return Setting(
        model=config.model,
        device=device,
        dtype=dtype,
        max_new_tokens=config.max_new_tokens,
        quantization=Quantization(decoder=config.quantize, vision=config.quantize_vision),
    )


def _list(item: Callable[[str], T], key: str, text: str) -> tuple[T, ...]:
    """The comma-separated entries of a text."""
    try:
        return tuple(item(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as exc:
        raise ConfigError(f"{key}: expected numbers, got {text!r}") from exc
