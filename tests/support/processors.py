"""transformers' own processors of images and text, for families whose whole one needs more.

Videos need packages that are not here; nothing else of a processor is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, InternVLProcessor, LlavaOnevisionProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from hired_core.models.checkpoint import read_json


def images_only(kind: type[Any]) -> type[Any]:
    """The class, taking None for a video processor."""
    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": lambda *_: None})


def onevision(folder: Path) -> Any:
    image = LlavaOnevisionImageProcessorPil.from_pretrained(folder)
    return images_only(LlavaOnevisionProcessor)(
        image_processor=image,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        video_processor=None,
        num_image_tokens=(image.size["height"] // 14) ** 2,
        vision_feature_select_strategy="full",
    )


def internvl(folder: Path) -> Any:
    return images_only(InternVLProcessor)(
        image_processor=GotOcr2ImageProcessorPil.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        video_processor=None,
        image_seq_length=read_json(folder, "config.json")["image_seq_length"],
    )


PROCESSORS: dict[str, Callable[[Path], Any]] = {
    "internvl": internvl,
    "llava_onevision": onevision,
}


def processor_of(folder: Path) -> Any:
    """By the checkpoint's `model_type`."""
    return PROCESSORS[read_json(folder, "config.json")["model_type"]](folder)
