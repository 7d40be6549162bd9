"""Attention of packed sequences: about half the work of one mask over everything.

The image area needs no mask at all: it comes first and looks only backwards, and its filling
comes last. Only the text area, about a third of a sequence, needs one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

__all__ = ["PACKED", "packed_attention"]

PACKED = "packed_image_then_texts"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """`[B, L, H, D]`: causal for the image area, by `attention_mask [B, 1, T, L]` for the texts."""
    end = query.shape[2] - attention_mask.shape[2]
    image = F.scaled_dot_product_attention(
        query[:, :, :end], key[:, :, :end], value[:, :, :end], is_causal=True, scale=scaling
    )
    texts = F.scaled_dot_product_attention(
        query[:, :, end:], key, value, attn_mask=attention_mask, scale=scaling
    )
    return torch.cat((image, texts), dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PACKED, packed_attention)
