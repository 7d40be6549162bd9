"""Random-weight checkpoints of each family, written by transformers' own `save_pretrained`.

See `lab.benchmark.contestants.models` for how weights are drawn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3VisionConfig,
    InternVLConfig,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaOnevisionConfig,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen3VLConfig,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMVisionConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from lab.benchmark.contestants.models import GRIDS, STOP_ID, random_model, write_processor

EMBEDDED = Path(__file__).parents[2] / "hired_core" / "embedded"
VOCABULARY: int = json.loads((EMBEDDED / "config.json").read_text())["text_config"]["vocab_size"]
"""Of the tokenizer that all of them share."""

MANY_STOPS = tuple(range(STOP_ID, VOCABULARY, 20))
"""Random weights prefer no id for long: where one in 20 is a stop, texts end at any length."""


def build_checkpoint(
    folder: Path,
    *,
    seed: int,
    partition_size: int = 56,
    vision_layers: int = 3,
    feature_layer: int = -2,
    tied: bool = False,
    text_says_tied: bool | None = None,
    shard_size: str = "1GB",
    stop_ids: tuple[int, ...] = (STOP_ID,),
    decoder: type[Any] = LlamaConfig,
    **text: Any,
) -> Path:
    """Folder of a checkpoint with model, tokenizer and processor.

    Args:
        tied: whether input and output embeddings are one; `text_says_tied` lets the text
            configuration contradict it, as it may in files found in the wild.
        text: goes to the configuration of the `decoder`.
    """
    chosen = decoder(**(_decoder(tied) | text))
    config = _config(partition_size, vision_layers, feature_layer, tied, chosen)
    if text_says_tied is not None:
        config.text_config.tie_word_embeddings = text_says_tied
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(stop_ids)
    model.save_pretrained(folder, max_shard_size=shard_size)
    write_processor(folder, partition_size)
    return folder


def build_llava(folder: Path, *, seed: int, size: int = 56, **text: Any) -> Path:
    """The same of LLaVA-1.5: one square of `size` pixels, no newline."""
    config = LlavaConfig(
        vision_config=_vision(size, 3),
        text_config=_text(tied=False, **text),
        image_token_index=3,
        vision_feature_layer=-2,
        image_seq_length=(size // 14) ** 2,
    )
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(MANY_STOPS)
    model.save_pretrained(folder)
    write_processor(folder, size)
    LlavaProcessor(
        image_processor=LlavaImageProcessorPil(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(folder / "chat_template.jinja").read_text(),
    ).save_pretrained(folder)
    return folder


def build_qwen2_vl(
    folder: Path, *, seed: int, min_pixels: int = 56 * 56, max_pixels: int = 120 * 784, **text: Any
) -> Path:
    """The same of Qwen2-VL, whose processor is written as checkpoints on the hub have it."""
    config = Qwen2VLConfig(
        vision_config={
            "depth": 3,
            "embed_dim": 64,
            "hidden_size": 128,
            "mlp_ratio": 2,
            "num_heads": 4,
        },
        text_config=_mrope_text([4, 6, 6], **text),
        image_token_id=3,
        video_token_id=VOCABULARY - 1,
    )
    image = {"min_pixels": min_pixels, "max_pixels": max_pixels, "patch_size": 14}
    return _save_qwen(config, folder, seed, image)


def build_qwen2_5_vl(folder: Path, *, seed: int, **text: Any) -> Path:
    """The same of Qwen2.5-VL: windows of 2 x 2 visual tokens but for the second and last layer."""
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 64,
            "out_hidden_size": 128,
            "intermediate_size": 96,
            "num_heads": 4,
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
        },
        text_config=_mrope_text([4, 6, 6], **text),
        image_token_id=3,
        video_token_id=VOCABULARY - 1,
    )
    image = {"min_pixels": 56 * 56, "max_pixels": 120 * 784, "patch_size": 14}
    return _save_qwen(config, folder, seed, image)


def build_qwen3_vl(folder: Path, *, seed: int, **text: Any) -> Path:
    """The same of Qwen3-VL: two of its four tower layers are tapped."""
    config = Qwen3VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 64,
            "out_hidden_size": 128,
            "intermediate_size": 96,
            "num_heads": 4,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 2],
        },
        text_config=_mrope_text([6, 5, 5], **({"num_hidden_layers": 3} | text)),
        image_token_id=3,
        video_token_id=VOCABULARY - 1,
    )
    size = {"shortest_edge": 64 * 64, "longest_edge": 120 * 1024}
    half = [0.5, 0.5, 0.5]
    image = {"size": size, "patch_size": 16, "image_mean": half, "image_std": half}
    return _save_qwen(config, folder, seed, image)


def _save_qwen(config: Any, folder: Path, seed: int, image: dict[str, Any]) -> Path:
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(MANY_STOPS)
    model.save_pretrained(folder)
    write_processor(folder, 56)
    (folder / "processor_config.json").unlink()
    kind = {"image_processor_type": "Qwen2VLImageProcessor", "merge_size": 2}
    stored = kind | {"temporal_patch_size": 2} | image
    (folder / "preprocessor_config.json").write_text(json.dumps(stored))
    return folder


def _mrope_text(sections: list[int], **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": sections}
    return _text(tied=False).to_dict() | {"rope_parameters": rope, "model_type": None} | more


def write_text_files(folder: Path) -> None:
    """Tokenizer and chat template; what is said of images is for another file, as on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    write_processor(folder, 56)
    (folder / "processor_config.json").unlink()


def _config(
    partition_size: int, vision_layers: int, feature_layer: int, tied: bool, text: Any
) -> LlavaNextConfig:
    return LlavaNextConfig(
        vision_config=_vision(partition_size, vision_layers),
        text_config=text,
        image_grid_pinpoints=[[r * partition_size, c * partition_size] for r, c in GRIDS],
        image_token_index=3,
        vision_feature_layer=feature_layer,
        tie_word_embeddings=tied,
    )


def _vision(size: int, layers: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=size,
        patch_size=14,
        projection_dim=64,
    )


def _text(*, tied: bool, **more: Any) -> LlamaConfig:
    return LlamaConfig(**(_decoder(tied) | more))


def _decoder(tied: bool = False) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "bos_token_id": 1,
        "eos_token_id": STOP_ID,
        "pad_token_id": 0,
        "tie_word_embeddings": tied,
    }


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


def _qwen2(**more: Any) -> Qwen2Config:
    return Qwen2Config(**(_decoder() | more))


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
        text_config=decoder(**(_decoder() | {"vocab_size": VOCABULARY + len(ids)} | text)),
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


def write_words(folder: Path, image: str, words: list[str], **settings: Any) -> dict[str, int]:
    """`write_text_files` with more special tokens, and `image` in the template; their ids."""
    write_text_files(folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<image>", image))
    tokenizer = AutoTokenizer.from_pretrained(folder, **settings)
    tokenizer.add_special_tokens({"additional_special_tokens": words})
    tokenizer.save_pretrained(folder)
    return {word: tokenizer.convert_tokens_to_ids(word) for word in words}


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
        text_config=_text(tied=False, vocab_size=VOCABULARY + len(ids) + 1, **text),
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
