"""Models of native resolution to measure, and transformers' own way to feed them.

Tower and decoder are as wide and deep as those of the LLaVA-Next model of the same name, so that
figures tell of the way images are read: one sequence of patches, 2 x 2 of them to a visual token,
no CLS token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from transformers import AutoTokenizer, Qwen2VLConfig, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

NATIVE: Final = frozenset({"qwen2_vl"})
"""Families of native resolution that presets are of."""

_PIXELS: Final = {"min_pixels": 56 * 56, "max_pixels": 2304 * 28 * 28}
"""Up to 2304 visual tokens, as many as four sub-images of 336 pixels have."""


def native_config(
    family: str, vision: Mapping[str, Any], text: Mapping[str, Any], image_id: int
) -> Any:
    """The configuration of a preset; the sections of positions share out half a head's width."""
    assert family == "qwen2_vl", family
    half = text["hidden_size"] // text["num_attention_heads"] // 2
    sides = 3 * half // 8
    rope = {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "mrope_section": [half - 2 * sides, sides, sides],
    }
    return Qwen2VLConfig(
        vision_config={**vision, "hidden_size": text["hidden_size"], "patch_size": 14},
        text_config={**text, "rope_parameters": rope},
        image_token_id=image_id,
        # No text has it.
        video_token_id=text["vocab_size"] - 1,
    )


def write_native_processor(folder: Path) -> None:
    """Image settings as checkpoints on the hub have them, instead of LLaVA-Next's."""
    (folder / "processor_config.json").unlink()
    kind = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "merge_size": 2}
    stored = kind | {"temporal_patch_size": 2} | _PIXELS
    (folder / "preprocessor_config.json").write_text(json.dumps(stored, indent=2))


class _ImagesOnly(Qwen2VLProcessor):  # type: ignore[misc]  # transformers is untyped.
    """Without a video processor, which needs a package of its own; nothing else differs."""

    def check_argument_for_proper_class(self, *_: Any) -> None:
        """Takes None for the video processor."""


def native_processor(folder: str) -> Any:
    """transformers' processor of images and text."""
    return _ImagesOnly(
        image_processor=Qwen2VLImageProcessorPil.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )
