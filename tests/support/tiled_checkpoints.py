"""Random-weight checkpoints of families that cut images into tiles in ways of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    Idefics3Config,
    Idefics3VisionConfig,
    InternVLConfig,
    InternVLVisionConfig,
    LlavaOnevisionConfig,
    Qwen2Config,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMVisionConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from lab.benchmark.contestants.models import random_model
from tests.support.checkpoints import (
    MANY_STOPS,
    VOCABULARY,
    decoder_settings,
    llama_text,
    write_text_files,
)


def build_onevision(folder: Path, *, seed: int, size: int = 60, most: int = 6, **text: Any) -> Path:
    """The same of LLaVA-OneVision: grids up to `most` x `most` of `size` pixels, of which whole
    patches cover 56 of 60."""
    pinpoints = [[r * size, c * size] for r in range(1, most + 1) for c in range(1, most + 1)]
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=size,
            patch_size=14,
            vision_use_head=False,
        ),
        text_config=_qwen2(**text),
        image_grid_pinpoints=pinpoints,
        image_token_index=3,
        video_token_index=4,
    )
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(MANY_STOPS)
    model.save_pretrained(folder)
    write_text_files(folder)
    LlavaOnevisionImageProcessorPil(
        size={"height": size, "width": size},
        image_grid_pinpoints=pinpoints,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(folder)
    return folder


def build_internvl(
    folder: Path,
    *,
    seed: int,
    size: int = 56,
    decoder: type[Any] = Qwen2Config,
    norms: bool = False,
    **text: Any,
) -> Path:
    """The same of InternVL: tiles of 56 pixels, 2 x 2 tokens of 2 x 2 patches each."""
    words = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    image = words["context_image_token"]
    ids = write_words(folder, image, list(words.values()), extra_special_tokens=words)
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=size,
            patch_size=14,
            use_qk_norm=norms,
            norm_type="rms_norm" if norms else "layer_norm",
        ),
        text_config=decoder(**(decoder_settings() | {"vocab_size": VOCABULARY + len(ids)} | text)),
        image_token_id=ids[image],
        image_seq_length=(size // 28) ** 2,
        tie_word_embeddings=False,
    )
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(MANY_STOPS)
    model.save_pretrained(folder)
    GotOcr2ImageProcessorPil(
        size={"height": size, "width": size},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return folder


def build_idefics3(
    folder: Path,
    *,
    seed: int,
    kind: str = "idefics3",
    lines_join: bool = False,
    size: int = 60,
    patch: int = 14,
    scale: int = 2,
    **text: Any,
) -> Path:
    """The same of Idefics3, or SmolVLM: tiles of 60 pixels, 2 x 2 tokens of 2 x 2 patches each, up
    to 4 along a side.

    Args:
        lines_join: whether the tokenizer has a token for two line ends.
    """
    tiles = [f"<row_{row}_col_{col}>" for row in range(1, 5) for col in range(1, 5)]
    words = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles]
    ids = write_words(folder, "<image>", words)
    if lines_join:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens(["\n\n"])
        tokenizer.save_pretrained(folder)
    whole, vision = _IDEFICS[kind]
    config = whole(
        vision_config=vision(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=size,
            patch_size=patch,
        ),
        text_config=llama_text(tied=False, vocab_size=VOCABULARY + len(ids) + 1, **text),
        image_token_id=3,
        scale_factor=scale,
        tie_word_embeddings=False,
    )
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(MANY_STOPS)
    model.save_pretrained(folder)
    Idefics3ImageProcessorPil(
        size={"longest_edge": 4 * size}, max_image_size={"longest_edge": size}
    ).save_pretrained(folder)
    return folder


_IDEFICS = {
    "idefics3": (Idefics3Config, Idefics3VisionConfig),
    "smolvlm": (SmolVLMConfig, SmolVLMVisionConfig),
}


def write_words(folder: Path, image: str, words: list[str], **settings: Any) -> dict[str, int]:
    """`write_text_files` with more special tokens, and `image` in the template; their ids."""
    write_text_files(folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<image>", image))
    tokenizer = AutoTokenizer.from_pretrained(folder, **settings)
    tokenizer.add_special_tokens({"additional_special_tokens": words})
    tokenizer.save_pretrained(folder)
    return {word: tokenizer.convert_tokens_to_ids(word) for word in words}


def _qwen2(**more: Any) -> Qwen2Config:
    return Qwen2Config(**(decoder_settings() | more))
