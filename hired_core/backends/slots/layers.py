"""The decoder's weights, taken from a transformers model, as one walk over rows of hidden states.

What the walk reads and writes of the cache is its caller's. Legend: n rows of a call, H heads, G
key-value heads, d head size, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from hired_core.backends.base import UnsupportedDecoderError
from hired_core.onednn import plus, silu, times

SUPPORTED: Final = (
    *("llama", "mistral", "qwen2", "qwen3"),
    *("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text"),
)
_STATIC_ROPE: Final = ("default", "linear", "llama3", "yarn")

Store = Callable[[int, Tensor, Tensor], None]
"""store(layer, keys, values): keeps keys and values [n, G, d] of a layer."""

Attend = Callable[[int, Tensor], Tensor]
"""attend(layer, queries): from [n, H, d], the output of a layer's attention, [n, H*d]."""


def check_decoder(config: Any, max_length: int) -> None:
    """Raises `UnsupportedDecoderError` unless the layers are those of Llama, whole attention."""
    kind = config.model_type
    if kind not in SUPPORTED:
        raise UnsupportedDecoderError(f"decoder {kind!r}; supported are {', '.join(SUPPORTED)}")
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in _STATIC_ROPE:
        raise UnsupportedDecoderError(f"rotary embedding {rope!r} changes with the length")
    window = getattr(config, "sliding_window", None)
    slides = getattr(config, "use_sliding_window", True)
    if window is not None and slides and window < max_length:
        raise UnsupportedDecoderError(
            f"attention slides over {window} positions, a slot has {max_length}"
        )


class DecoderLayers:
    """Embedding, layers and head of a Llama-style decoder.

    Args:
        decoder: transformers' causal language model, in evaluation mode.
        rotary_length: rotary positions a token may have.

    Attributes:
        positions: int64 [rotary_length], 0, 1, 2, ... on the device.
    """

    def __init__(self, decoder: Any, rotary_length: int) -> None:
        self._decoder = decoder
        self._layers = list(decoder.model.layers)
        first = self._layers[0].self_attn
        weight = self._layers[0].input_layernorm.weight  # Which is never in eight bits.
        self.head_dim, self.scale = int(first.head_dim), float(first.scaling)
        self.num_kv_heads = first.k_proj.weight.shape[0] // self.head_dim
        self.device, self.dtype = weight.device, weight.dtype
        self.width = int(decoder.config.hidden_size)
        self.positions = torch.arange(rotary_length, device=weight.device)
        with torch.inference_mode():
            self._cos, sin = _table(decoder, weight, self.positions)
            # Half of `_rotate`'s signs, taken once.
            self._sin = torch.cat([-sin[:, : self.head_dim // 2], sin[:, self.head_dim // 2 :]], 1)
            self._axis = _axes(decoder, weight)

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def num_logits(self) -> int:
        """V."""
        return int(self._decoder.lm_head.weight.shape[0])

    def embed(self, tokens: Tensor) -> Tensor:
        """[n, D] of int64 [n]."""
        rows: Tensor = self._decoder.get_input_embeddings()(tokens)
        return rows

    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [n, V] of [n, D]."""
        logits: Tensor = self._decoder.lm_head(_normed(self._decoder.model.norm, hidden)).float()
        return logits

    def walk(
        self,
        hidden: Tensor,
        rotary: Tensor,
        layers: range,
        store: Store,
        attend: Attend,
        wanted: slice,
        added: Tensor | None = None,
    ) -> Tensor:
        """[n, D] after these layers; keys and values of all n rows are stored.

        After the decoder's last layer only the `wanted` rows, of which there may be none: it
        computes no others.

        Args:
            hidden: [n, D], what enters the first of them.
            rotary: int64 [n], rotary positions, or [n, 3].
            added: [n, d, D], what is added to each row behind the decoder's first d layers.
        """
        cos, sin = self._angles(rotary)
        for index in layers:
            layer = self._layers[index]
            attention, normed = layer.self_attn, _normed(layer.input_layernorm, hidden)
            keys = _rotate(self._keys(attention, normed), cos, sin)
            store(index, keys, self._heads(attention.v_proj(normed)))
            if index == len(self._layers) - 1:
                hidden, normed, cos, sin = (x[wanted] for x in (hidden, normed, cos, sin))
                if not hidden.shape[0]:
                    break
            queries = _rotate(self._queries(attention, normed), cos, sin)
            hidden = plus(attention.o_proj, attend(index, queries), hidden)
            hidden = _gated(layer.mlp, _normed(layer.post_attention_layernorm, hidden), hidden)
            if added is not None and index < added.shape[1]:
                rows = wanted if index == len(self._layers) - 1 else slice(None)
                hidden = hidden + added[rows, index]
        return hidden

    def project(self, index: int, hidden: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor]:
        """The last row's query [H, d], and keys [n, G, d], that a layer would make of its rows."""
        layer = self._layers[index]
        attention, normed = layer.self_attn, _normed(layer.input_layernorm, hidden)
        cos, sin = self._angles(rotary)
        query = _rotate(self._queries(attention, normed[-1:]), cos[-1:], sin[-1:])[0]
        return query, _rotate(self._keys(attention, normed), cos, sin)

    def _queries(self, attention: Any, normed: Tensor) -> Tensor:
        """[n, H, d]; normalised head by head where the decoder does so (Qwen3)."""
        return self._by_head(attention, "q_norm", self._heads(attention.q_proj(normed)))

    def _keys(self, attention: Any, normed: Tensor) -> Tensor:
        return self._by_head(attention, "k_norm", self._heads(attention.k_proj(normed)))

    @staticmethod
    def _by_head(attention: Any, name: str, heads: Tensor) -> Tensor:
        norm = getattr(attention, name, None)
        return heads if norm is None else _normed(norm, heads)

    def _angles(self, rotary: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 1, d] each; of three positions each frequency takes the one of its axis."""
        if rotary.ndim == 1:
            return self._cos[rotary][:, None], self._sin[rotary][:, None]
        place = rotary[:, self._axis]
        return self._cos.gather(0, place)[:, None], self._sin.gather(0, place)[:, None]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self.head_dim)


def _table(decoder: Any, weight: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [R, d] of each position, the same in every dimension."""
    ids = positions.expand(3, 1, -1) if _has_axes(decoder) else positions[None]
    cos, sin = decoder.model.rotary_emb(weight, ids)
    return cos[0], sin[0]


def _axes(decoder: Any, weight: Tensor) -> Tensor:
    """int64 [d]: of three positions, which one turns each frequency; told by turning one alone."""
    if not _has_axes(decoder):
        return torch.empty(0, dtype=torch.long)
    one_alone = torch.eye(3, dtype=torch.long, device=weight.device)[:, None]
    _, sin = decoder.model.rotary_emb(weight.float(), one_alone)
    axis: Tensor = sin[0].abs().argmax(0)
    return axis


def _has_axes(decoder: Any) -> bool:
    return "mrope_section" in (getattr(decoder.config, "rope_parameters", None) or {})


def _gated(mlp: Any, x: Tensor, hidden: Tensor) -> Tensor:
    """The gated MLP of `x` and `hidden`, in place: fresh memory for what is wide costs a CPU a
    quarter of its time."""
    is_silu = mlp.config.hidden_act == "silu"
    gate = silu(mlp.gate_proj, x) if is_silu else mlp.act_fn(mlp.gate_proj(x))
    return plus(mlp.down_proj, times(mlp.up_proj, x, gate), hidden)


def _normed(norm: Any, x: Tensor) -> Tensor:
    """The decoder's RMS norm, bit for bit on CPUs: rounded to the type of `x` before the weight.

    transformers' own is six operators more, each of which is a kernel on a GPU.
    """
    found: Tensor = norm.weight * F.rms_norm(x, x.shape[-1:], None, norm.variance_epsilon)
    return found


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of [n, heads, d]; halves are paired, as transformers does.

    Args:
        sin: negative for the first half.
    """
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([right, left], dim=-1) * sin
