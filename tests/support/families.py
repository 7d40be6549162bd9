"""Every family at once: a tiny checkpoint of each, and the same run by transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from hired_core.models.checkpoint import read_json
from hired_core.models.original.translation import is_original
from tests.support.checkpoints import MANY_STOPS, build_checkpoint, build_llava
from tests.support.halves import Original
from tests.support.native_original import NativeOriginal
from tests.support.original_checkpoints import Twin, build_original
from tests.support.processors import PROCESSORS, processor_of
from tests.support.qwen_checkpoints import build_qwen2_5_vl, build_qwen2_vl, build_qwen3_vl
from tests.support.tiled_checkpoints import build_idefics3, build_internvl, build_onevision

BUILDERS: Final[dict[str, Callable[..., Path]]] = {
    "idefics3": build_idefics3,
    "internvl": build_internvl,
    "llava": build_llava,
    "llava_next": partial(build_checkpoint, stop_ids=MANY_STOPS),
    "llava_onevision": build_onevision,
    "qwen2_5_vl": build_qwen2_5_vl,
    "qwen2_vl": build_qwen2_vl,
    "qwen3_vl": build_qwen3_vl,
    "smolvlm": partial(build_idefics3, kind="smolvlm"),
}
"""By `model_type`, as `hired_core.models.registry.FAMILIES`."""


OWN_FORMAT: Final[dict[str, Callable[..., Path]]] = {
    "llava, LLaVA's own format": partial(build_original, aspect="pad", tower="beside"),
    "llava_next, LLaVA's own format": partial(build_original, aspect="anyres", tower="inside"),
}
"""Of families that read two formats, the other one."""


def original_of(folder: Path) -> Original | NativeOriginal:
    """The unmodified model, with transformers' own processor of its images."""
    if is_original(read_json(folder, "config.json")):
        return Twin(folder)
    kind = read_json(folder, "config.json")["model_type"]
    if kind.startswith("qwen"):
        return NativeOriginal(folder)
    return Original(folder, processor_of(folder) if kind in PROCESSORS else None)
