"""The two halves of a LLaVA-Next model that is in memory already; no weight is copied.

For comparing with transformers where two sets of weights do not fit, and for weights that no file
holds.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.initialization import no_init_weights

from hired_core.geometry.spec import ModelSpec
from hired_core.language.model import LanguageModel
from hired_core.models.llava_next import load_tokenizer
from hired_core.vision.tower import VisionTower


def vision_of(model: Any, spec: ModelSpec) -> VisionTower:
    """The tower of a `LlavaNextForConditionalGeneration`, up to the feature layer."""
    tower = model.model.vision_tower
    tower = getattr(tower, "vision_model", tower)
    weight = tower.pre_layrnorm.weight
    return VisionTower(
        embed=lambda pixels: tower.pre_layrnorm(tower.embeddings(pixels)),
        layers=list(tower.encoder.layers[: spec.feature_layer + 1]),
        has_cls=True,
        mean=spec.mean,
        std=spec.std,
        device=weight.device,
        dtype=weight.dtype,
    )


def language_of(model: Any, spec: ModelSpec) -> LanguageModel:
    """Projector, newline embedding and decoder of a `LlavaNextForConditionalGeneration`.

    Args:
        spec: of a folder that holds at least the tokenizer.
    """
    stop = model.generation_config.eos_token_id
    return LanguageModel(
        spec=spec,
        projector=model.model.multi_modal_projector,
        newline=model.model.image_newline.detach(),
        decoder=_decoder_of(model),
        tokenizer=load_tokenizer(spec),
        stop_ids=frozenset(stop if isinstance(stop, list) else [stop]),
    )


def _decoder_of(model: Any) -> nn.Module:
    """The causal language model around the live decoder and head."""
    config = copy.deepcopy(model.config.text_config)
    with no_init_weights(), torch.device("meta"):
        decoder = AutoModelForCausalLM.from_config(
            config, dtype=model.dtype, attn_implementation="sdpa"
        )
    decoder.model = model.model.language_model
    decoder.lm_head = model.lm_head
    decoder.eval()
    return decoder  # type: ignore[no-any-return]  # transformers is untyped.
