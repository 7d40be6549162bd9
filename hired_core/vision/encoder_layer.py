"""One pre-LN encoder layer, step by step, by its own modules.

The steps are apart because the tokens worth finishing are chosen between them. Works on any layer
with `layer_norm1`, `self_attn.{q_proj, k_proj, v_proj, out_proj, num_heads}`, `layer_norm2` and
`mlp` (transformers' CLIP and SigLIP). Legend: M partitions, T tokens, C width, H heads, d head
width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hired_core.onednn import OneDnnLinear, plus

_CPU_BLOCK = 2**16


class Projections(NamedTuple):
    """What a layer's attention works on: each [M, H, T, d]."""

    query: Tensor
    key: Tensor
    value: Tensor


def project(layer: Any, hidden_MTC: Tensor) -> Projections:
    attention, normed = layer.self_attn, layer.layer_norm1(hidden_MTC)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    return Projections(*(split_heads(p(normed), attention.num_heads) for p in projections))


def project_for_rows(layer: Any, hidden_MTC: Tensor, num_queries: int) -> tuple[Tensor, Tensor]:
    """Queries of the first `num_queries` tokens and keys of all, where no more is needed."""
    attention, normed = layer.self_attn, layer.layer_norm1(hidden_MTC)
    query = split_heads(attention.q_proj(normed[:, :num_queries]), attention.num_heads)
    return query, split_heads(attention.k_proj(normed), attention.num_heads)


def attend(projections: Projections) -> Tensor:
    """[M, T, C], heads side by side; scaled by d ** -0.5, as CLIP and SigLIP are."""
    attended_MHTd = functional.scaled_dot_product_attention(*projections)
    return attended_MHTd.transpose(1, 2).flatten(2)


def attend_at(projections: Projections, partition: Tensor, token: Tensor) -> Tensor:
    """[..., C]: what `attend` has at these tokens of these partitions, the others not computed.

    A loop over partitions, as each has its own number of queries: for CPUs, where a small call
    costs little and nothing waits for the device.
    """
    query, key, value = projections
    attended = query.new_empty(*token.shape, query.shape[1] * query.shape[3])
    for row in range(query.shape[0]):
        here = partition == row
        asked = query[row : row + 1, :, token[here]]
        attended[here] = attend(Projections(asked, key[row : row + 1], value[row : row + 1]))[0]
    return attended


def finish(layer: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """The layer's output, token by token: [..., C] from its input and what it attended to."""
    hidden = plus(layer.self_attn.out_proj, attended, hidden)
    mlp, normed = layer.mlp, layer.layer_norm2(hidden)
    if not isinstance(getattr(mlp, "fc2", None), OneDnnLinear):
        return mlp(normed) + hidden  # type: ignore[no-any-return]  # Untyped.
    return plus(mlp.fc2, mlp.activation_fn(mlp.fc1(normed)), hidden)


def run_layer(layer: Any, hidden_MTC: Tensor) -> Tensor:
    return finish(layer, hidden_MTC, attend(project(layer, hidden_MTC)))


def split_heads(x_MTC: Tensor, num_heads: int) -> Tensor:
    """[M, H, T, d]."""
    x_MTHd: Tensor = x_MTC.unflatten(-1, (num_heads, -1))
    return x_MTHd.transpose(1, 2)


class QuickGELU(torch.nn.Module):
    """`x * sigmoid(1.702 x)`, CLIP's activation, in place of a contiguous `x`.

    Bit for bit transformers' own, which makes three arrays of the size of `x`: on CPUs their fresh
    memory costs more than the arithmetic, so there it goes in blocks that stay in cache.
    """

    def forward(self, x: Tensor) -> Tensor:
        for block in x.view(-1).split(_CPU_BLOCK) if x.is_cpu else [x]:
            block.mul_((block * 1.702).sigmoid_())
        return x
