"""Which models of native resolution can be trained, and at what size: one entry each.

The smallest that learn rendered scenes on a core of a CPU within an hour or two. 64 visual tokens
of an image are 8 x 8: an object of a picture is one or two of them, glyphs are too small to read.
Pictures are scenes, and nothing is asked of their signs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lab.rendering.geometry import content_size
from lab.rendering.picture import Picture
from lab.rendering.tasks import SPATIAL_KINDS, TASKS, caption
from lab.training.data.lessons import ask_order, ask_place
from lab.training.language.texts import Lessons

__all__ = ["RECIPES", "NativeRecipe"]

PATCH_SIZE: Final = 14
TOKEN_SIZE: Final = 2 * PATCH_SIZE
_MAX_TOKENS: Final = 64
_VISION_WIDTH, _TEXT_WIDTH = 128, 192


@dataclass(frozen=True, kw_only=True)
class NativeRecipe:
    """What a family's training needs beside the shared stages.

    Attributes:
        config: transformers' configuration, for a number of token ids and the image's.
        image: preprocessor_config.json.
        dtype: of the exported weights.
    """

    config: Callable[[int, int], Any]
    image: Mapping[str, Any]
    dtype: str = "float16"

    @property
    def max_tokens(self) -> int:
        """Visual tokens of an image, at the most."""
        return int(self.image["max_pixels"]) // TOKEN_SIZE**2

    def lessons(self, grid_of: Callable[[Picture], tuple[int, int]]) -> Lessons:
        """What is asked; `grid_of` gives (rows, cols) of a picture's visual tokens."""

        def place(picture: Picture, x: float, y: float) -> tuple[int, int]:
            width, height = content_size(picture.width, picture.height)
            rows, cols = grid_of(picture)
            return min(int(x / width * cols), cols - 1), min(int(y / height * rows), rows - 1)

        return Lessons(
            asked={"scene": _ASKED}, caption_shares={"scene": 0.5}, caption=_unsigned, place=place
        )


_ASKED: Final = (
    (TASKS["attribute"].ask, 2),
    (TASKS["existence"].ask, 2),
    (TASKS["count"].ask, 2),
    (SPATIAL_KINDS["quarter"], 2),
    (SPATIAL_KINDS["relation"], 3),
    (SPATIAL_KINDS["nearest"], 1),
    (ask_place, 1),
    (ask_order, 1),
)


def _unsigned(picture: Picture) -> str | None:
    """Captions of pictures without signs, whose glyphs are too small to read."""
    return None if picture.signs else caption(picture)


def _qwen2_vl(num_ids: int, image_id: int) -> Any:
    # Here, so that the command's help does not wait for transformers.
    from transformers import Qwen2VLConfig

    vision = {
        "depth": 4,
        "embed_dim": _VISION_WIDTH,
        "hidden_size": _TEXT_WIDTH,
        "mlp_ratio": 4,
        "num_heads": 4,
        "patch_size": PATCH_SIZE,
    }
    text = {
        "vocab_size": num_ids + 1,
        "hidden_size": _TEXT_WIDTH,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [8, 12, 12],
        },
    }
    # No text has the video's id: it is behind the tokenizer's own.
    return Qwen2VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=image_id,
        video_token_id=num_ids,
        tie_word_embeddings=False,
    )


RECIPES: Final = {
    "qwen2_vl": NativeRecipe(
        config=_qwen2_vl,
        image={
            "image_processor_type": "Qwen2VLImageProcessor",
            "patch_size": PATCH_SIZE,
            "merge_size": 2,
            "temporal_patch_size": 2,
            "min_pixels": 16 * TOKEN_SIZE**2,
            "max_pixels": _MAX_TOKENS * TOKEN_SIZE**2,
        },
    ),
}
"""By `model_type`."""
