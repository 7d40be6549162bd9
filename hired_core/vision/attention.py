"""What each patch gets of one ViT layer's attention, without its T x T map.

Both functions take the queries and keys that the layer computes anyway. Legend: M partitions,
T tokens (N patches, plus CLS if there is one), H heads, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

QUERY_CHUNK = 64
RECEIVED_AT_ONCE = 2**21
"""Numbers of a head's map that exist at once for one partition, or image, at the most."""


def cls_attention(query_MHTd: Tensor, key_MHTd: Tensor) -> Tensor:
    """float32 [M, H, N]: attention from the CLS token (index 0) to each patch.

    One query row, in float32 whatever the layer computes in, softmax over all T keys: row sums are
    1 minus CLS's attention to itself. Equals `attentions[layer][:, :, 0, 1:]` of eager attention.

    Args:
        query_MHTd: only the first token's is looked at; there may be no other.
    """
    # Not a matmul: keys lie token by token, and it would first copy them head by head.
    scaled_MH1d = query_MHTd[:, :, :1].float() * query_MHTd.shape[-1] ** -0.5
    logits_MHT: Tensor = (key_MHTd * scaled_MH1d).sum(-1)
    return logits_MHT.softmax(-1)[:, :, 1:]


def received_attention(query_MHTd: Tensor, key_MHTd: Tensor) -> Tensor:
    """float32 [M, H, N]: mean attention each patch receives; for encoders without a CLS token.

    Queries go in chunks, so that no more than `QUERY_CHUNK` rows of the map exist at once, fewer
    of a long one.
    """
    chunk = max(1, min(QUERY_CHUNK, RECEIVED_AT_ONCE // key_MHTd.shape[2]))
    received_MHT = query_MHTd.new_zeros(key_MHTd.shape[:3], dtype=torch.float32)
    for each in query_MHTd.split(chunk, dim=2):
        received_MHT += _rows(each, key_MHTd).sum(-2)
    return received_MHT / key_MHTd.shape[2]


def _rows(query_MHQd: Tensor, key_MHTd: Tensor) -> Tensor:
    """float32 [M, H, Q, T]."""
    scaled = query_MHQd * query_MHQd.shape[-1] ** -0.5
    return torch.softmax(scaled @ key_MHTd.transpose(-1, -2), dim=-1, dtype=torch.float32)
