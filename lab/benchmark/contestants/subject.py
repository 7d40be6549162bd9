"""The model under test, as each contestant loads it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from hired_core.choices import Quantization
from hired_core.language.model import LanguageModel
from hired_core.models.checkpoint import read_json
from hired_core.models.original.translation import is_original
from hired_core.models.registry import family_of, load_spec
from hired_core.models.weights import check_quantization, quantize
from hired_core.vision.packed import Tower
from hired_core.vlm.device import CPU_SHARE, DTYPES, GPU_SHARE
from lab.benchmark.contestants.models import (
    PRESETS,
    never_stopping,
    preset_config,
    random_model,
    write_preset,
)
from pipeline.settings.prompts import DEFAULT_PROMPT


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all contestants share.

    Attributes:
        model: a preset, "embedded", a folder or a Hugging Face id.
        folder: where a preset's files lie; see `prepared`.
        dtype: a key of `DTYPES`.
        quantization: of this engine's weights; transformers' model has none.
    """

    model: str = "embedded"
    folder: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    prompt: str = DEFAULT_PROMPT
    max_new_tokens: int = 16
    quantization: Quantization = field(default_factory=Quantization)


@contextmanager
def prepared(setting: Setting) -> Iterator[Setting]:
    """The setting with a preset's files written, for as long as the context lasts."""
    preset = PRESETS.get(setting.model)
    if preset is None:
        yield setting
        return
    with TemporaryDirectory(prefix="benchmark-model-") as folder:
        write_preset(preset, Path(folder))
        yield replace(setting, folder=folder)


class Subject:
    """Weights are loaded when they are first asked for, once, and shared by contestants.

    On a GPU, and for a model that no file holds, all sides use one set of weights, or copies of it
    in eight bits. On a CPU each side loads its own, as its users would.
    """

    def __init__(self, setting: Setting) -> None:
        check_quantization(setting.quantization)
        self.setting = setting
        self.limit_bytes: int | None = None
        self.device = torch.device(setting.device)
        self.dtype = DTYPES[setting.dtype]
        self.spec = load_spec(setting.folder or setting.model)
        if is_original(read_json(Path(self.spec.path), "config.json")):
            raise ValueError(
                f"model: {self.spec.name} is in LLaVA's own format, which transformers, the "
                "baseline, does not read; give the same model in transformers' format"
            )
        self.family = family_of(self.spec)
        self.template = self.family.load_prompt_template(self.spec)
        preset = PRESETS.get(setting.model)
        self._made_here = None if preset is None or preset.on_disk else preset
        self._shared = self.device.type == "cuda" or self._made_here is not None

    @cached_property
    def original(self) -> Any:
        """transformers' own model."""
        if self._made_here is not None:
            config = preset_config(self._made_here)
            return never_stopping(random_model(config, 0, device=self.device, dtype=self.dtype))
        model = AutoModelForImageTextToText.from_pretrained(self.spec.path, dtype=self.dtype)
        return model.to(self.device).eval()

    def memory_bytes(self) -> int:
        """What weights, cache and workspace may take: the job's share of what the process may
        use of a GPU, or of this machine's memory."""
        if self.limit_bytes is not None:
            return self.limit_bytes
        if self.device.type == "cuda":
            share = torch.cuda.get_per_process_memory_fraction(self.device)
            total = torch.cuda.get_device_properties(self.device).total_memory
            return int(GPU_SHARE * share * total)
        return int(CPU_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))

    @cached_property
    def vision(self) -> Tower:
        kind = self.setting.quantization.vision
        if not self._shared:
            return self.family.load_vision(
                self.spec, device=self.device, dtype=self.dtype, quantized=kind
            )
        if kind is None:
            return self.family.vision_of(self.original, self.spec)
        tower = self.family.vision_of(copy.deepcopy(self.original), self.spec)
        quantize(nn.ModuleList(tower.layers), kind)
        return tower

    def require_squares(self, part: str) -> None:
        """Raises `ValueError` if `part` is one that the model's way of reading images rules out."""
        if self.spec.geometry.piece_size != self.spec.geometry.partition_size:
            raise ValueError(
                f"parts: {part} is of towers that see square partitions; {self.spec.family} reads "
                "images whole. end-to-end, batches and memory run"
            )

    @cached_property
    def language(self) -> LanguageModel:
        kind = self.setting.quantization.decoder
        if not self._shared:
            return self.family.load_language(
                self.spec, device=self.device, dtype=self.dtype, quantized=kind
            )
        if kind is None:
            return self.family.language_of(self.original, self.spec)
        language = self.family.language_of(copy.deepcopy(self.original), self.spec)
        quantize(language.decoder.model.layers, kind)
        return language
