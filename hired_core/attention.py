"""CLS attention of one ViT layer without its N x N attention map.

Works on any pre-LN encoder layer that has `layer_norm1` and `self_attn.{q_proj, k_proj,
num_heads, scale}` (transformers' CLIP and SigLIP). Legend: M partitions, T tokens (N, plus CLS if
there is one), C width, H heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

QUERY_CHUNK = 64


def cls_attention(layer: Any, hidden_MTC: Tensor) -> Tensor:
    """float32 [M, H, N]: attention from the CLS token (index 0) to each patch.

    One query row, softmax in float32 over all T keys: row sums are 1 minus CLS's attention to
    itself. Equals `attentions[layer][:, :, 0, 1:]` of eager attention.

    Args:
        layer: the encoder layer about to run.
        hidden_MTC: its input.
    """
    normed = layer.layer_norm1(hidden_MTC)
    attention = layer.self_attn
    rows_MH1T = _rows(attention, normed[:, :1], _keys(attention, normed))
    return rows_MH1T[:, :, 0, 1:]


def received_attention(layer: Any, hidden_MTC: Tensor) -> Tensor:
    """float32 [M, H, N]: mean attention each patch receives; for encoders without a CLS token.

    Queries go in chunks, so that no more than `QUERY_CHUNK` rows of the map exist at once.
    """
    normed = layer.layer_norm1(hidden_MTC)
    attention = layer.self_attn
    keys = _keys(attention, normed)
    chunks = normed.split(QUERY_CHUNK, dim=1)
    received_MHT = torch.stack([_rows(attention, c, keys).sum(-2) for c in chunks]).sum(0)
    return received_MHT / hidden_MTC.shape[1]


def _rows(attention: Any, queries_MQC: Tensor, keys_MHdT: Tensor) -> Tensor:
    """float32 [M, H, Q, T]."""
    query = _split_heads(attention.q_proj(queries_MQC) * attention.scale, attention.num_heads)
    return torch.softmax(query @ keys_MHdT, dim=-1, dtype=torch.float32)


def _keys(attention: Any, normed_MTC: Tensor) -> Tensor:
    """[M, H, d, T]."""
    return _split_heads(attention.k_proj(normed_MTC), attention.num_heads).transpose(-1, -2)


def _split_heads(x_MTC: Tensor, num_heads: int) -> Tensor:
    x_MTHd: Tensor = x_MTC.unflatten(-1, (num_heads, -1))
    return x_MTHd.transpose(1, 2)
