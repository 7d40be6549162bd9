"""transformers' own processors of images and text, for families whose whole one needs more.

Videos need packages that are not here; nothing else of a processor is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    Idefics3Processor,
    InternVLProcessor,
    LlavaOnevisionProcessor,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
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


def idefics3(folder: Path) -> Any:
    """Also SmolVLM's, whose own lays out images alike and asks for one more package for videos."""
    config = read_json(folder, "config.json")
    side = config["vision_config"]["image_size"] // config["vision_config"]["patch_size"]
    return Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        image_seq_len=(side // config["scale_factor"]) ** 2,
    )


PROCESSORS: dict[str, Callable[[Path], Any]] = {
    "idefics3": idefics3,
    "internvl": internvl,
    "llava_onevision": onevision,
    "smolvlm": idefics3,
}


def processor_of(folder: Path) -> Any:
    """By the checkpoint's `model_type`."""
    return PROCESSORS[read_json(folder, "config.json")["model_type"]](folder)
