"""The decoder's forward pass over a slot cache, from the weights of a transformers model.

Two passes share one walk over the layers: a run of positions of one slot (prefill), and one
position of many slots (decode). The last layer computes only the positions that are wanted: one
when a prompt ends, none before. Legend: n tokens of a call, A slots in use, H heads, G key-value
heads, d head size, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from hired_core.backends.slots.cache import SlotCache

SUPPORTED: Final = ("llama", "mistral", "qwen2")
_STATIC_ROPE: Final = ("default", "linear", "llama3", "yarn")

_Store = Callable[[int, Tensor, Tensor], None]
_Attend = Callable[[int, Tensor], Tensor]


class UnsupportedDecoderError(ValueError):
    """A decoder that the slot engine cannot run; the `reference` backend can."""


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


class SlotDecoder:
    """Llama-style decoder and its cache.

    Args:
        decoder: transformers' causal language model, in evaluation mode.
        rotary_length: rotary positions a token may have.
        chunk: tokens of a prompt that go through the layers at once; bounds the workspace.
    """

    def __init__(
        self,
        decoder: Any,
        *,
        num_slots: int,
        max_length: int,
        rotary_length: int,
        chunk: int,
    ) -> None:
        check_decoder(decoder.config, max_length)
        self._decoder = decoder
        self._layers = list(decoder.model.layers)
        self._chunk = chunk
        first = self._layers[0].self_attn
        weight = first.k_proj.weight
        self._head_dim, self._scale = first.head_dim, first.scaling
        self.cache = SlotCache(
            num_layers=len(self._layers),
            num_slots=num_slots,
            num_heads=weight.shape[0] // first.head_dim,
            max_length=max_length,
            head_dim=first.head_dim,
            device=weight.device,
            dtype=weight.dtype,
        )
        positions = torch.arange(rotary_length, device=weight.device)
        with torch.inference_mode():
            cos, sin = decoder.model.rotary_emb(weight, positions[None])
        self._cos, self._sin = cos[0], sin[0]
        self._positions = positions

    @torch.inference_mode()
    def prefill(
        self, embeds: Tensor, slot: int, start: int, rotary: Tensor | None = None
    ) -> Tensor:
        """Reads [n, D] into positions start.. of a slot; float [V], the logits after the last.

        Args:
            rotary: int64 [n], rotary positions; by default those of the slot.
        """
        if rotary is None:
            rotary = self._positions[start : start + embeds.shape[0]]
        for at in range(0, embeds.shape[0] - self._chunk, self._chunk):
            part = slice(at, at + self._chunk)
            self._read(embeds[part], rotary[part], slot, start + at, wanted=0)
        whole = (embeds.shape[0] - 1) // self._chunk * self._chunk
        hidden = self._read(embeds[whole:], rotary[whole:], slot, start + whole, wanted=1)
        return self._logits(hidden)[0]

    @torch.inference_mode()
    def decode(self, tokens: Tensor, positions: Tensor, shifts: Tensor, longest: int) -> Tensor:
        """Reads one token of each of the first A slots; float [A, V], the logits after it.

        Args:
            tokens, positions: int64 [A].
            shifts: int64 [A], how far rotary positions are ahead of those in the slot.
            longest: all positions are below it; no cell from there on is read.
        """
        visible = self._positions[:longest] <= positions[:, None]
        mask = visible[:, None, None]

        def store(layer: int, keys: Tensor, values: Tensor) -> None:
            self.cache.write_step(layer, positions, keys, values)

        def attend(layer: int, queries: Tensor) -> Tensor:
            count = queries.shape[0]
            keys = self.cache.keys[layer, :count, :, :longest]
            values = self.cache.values[layer, :count, :, :longest]
            # Query heads that share a key-value head go in as positions: nothing is repeated.
            grouped = queries.view(count, keys.shape[1], -1, self._head_dim)
            return F.scaled_dot_product_attention(
                grouped, keys, values, attn_mask=mask, scale=self._scale
            ).flatten(1)

        embeds = self._decoder.get_input_embeddings()(tokens)
        rows = slice(0, tokens.shape[0])
        return self._logits(self._walk(embeds, positions + shifts, store, attend, rows))

    def _read(
        self, embeds: Tensor, rotary: Tensor, slot: int, start: int, *, wanted: int
    ) -> Tensor:
        """The last `wanted` hidden states [wanted, D] of a chunk."""
        count = embeds.shape[0]
        end = start + count

        def store(layer: int, keys: Tensor, values: Tensor) -> None:
            self.cache.write_run(layer, slot, start, keys, values)

        def attend(layer: int, queries: Tensor) -> Tensor:
            keys = self.cache.keys[layer, None, slot, :, :end]
            values = self.cache.values[layer, None, slot, :, :end]
            asked = _padded(queries, end)
            found = F.scaled_dot_product_attention(
                asked.transpose(0, 1)[None],
                keys,
                values,
                scale=self._scale,
                enable_gqa=asked.shape[1] != keys.shape[1],
                **_causality(asked.shape[0], end, asked.device),
            )
            return found[0].transpose(0, 1).flatten(1)[-queries.shape[0] :]

        return self._walk(embeds, rotary, store, attend, slice(count - wanted, count))

    def _walk(
        self, hidden: Tensor, rotary: Tensor, store: _Store, attend: _Attend, rows: slice
    ) -> Tensor:
        """[rows, D] after all layers, before the final norm; keys and values of all n are stored.

        Args:
            rotary: int64 [n], rotary positions.
            store: keeps keys and values [n, G, d] of a layer.
            attend: from queries [n, H, d] of a layer, its attention's output [n, H*d].
        """
        cos, sin = self._cos[rotary][:, None], self._sin[rotary][:, None]
        for index, layer in enumerate(self._layers):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            keys = _rotate(self._heads(attention.k_proj(normed)), cos, sin)
            store(index, keys, self._heads(attention.v_proj(normed)))
            if index == len(self._layers) - 1:
                hidden, normed, cos, sin = (x[rows] for x in (hidden, normed, cos, sin))
                if not hidden.shape[0]:
                    break
            queries = _rotate(self._heads(attention.q_proj(normed)), cos, sin)
            hidden = hidden + attention.o_proj(attend(index, queries))
            hidden = hidden + _gated(layer.mlp, layer.post_attention_layernorm(hidden))
        return hidden

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self._head_dim)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._decoder.lm_head(self._decoder.model.norm(hidden)).float()
        return logits


def _padded(queries: Tensor, num_keys: int) -> Tensor:
    """Queries [n, H, d], on CPUs with zeros in front for as many positions as are read already.

    A CPU is so much faster without a mask that queries nobody asked are worth it, if they are fewer
    than the others: behind the text that prompts share, for one.
    """
    before = num_keys - queries.shape[0]
    if queries.device.type == "cuda" or queries.shape[0] == 1 or before >= queries.shape[0]:
        return queries
    return torch.cat([queries.new_zeros(before, *queries.shape[1:]), queries])


def _causality(num_queries: int, num_keys: int, device: torch.device) -> dict[str, Any]:
    """How the last `num_queries` of `num_keys` positions see the others.

    On GPUs in a form that flash kernels take; on CPUs a plain mask is faster.
    """
    if num_queries == 1:
        return {}
    if num_queries == num_keys:
        return {"is_causal": True}
    if device.type == "cuda":
        return {"attn_mask": causal_lower_right(num_queries, num_keys)}
    visible = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
    return {"attn_mask": visible.tril(num_keys - num_queries)[None, None]}


def _gated(mlp: Any, x: Tensor) -> Tensor:
    """The gated MLP, in place: fresh memory for what is wide costs a CPU a quarter of its time."""
    gate = mlp.gate_proj(x)
    gate = F.silu(gate, inplace=True) if mlp.config.hidden_act == "silu" else mlp.act_fn(gate)
    out: Tensor = mlp.down_proj(gate.mul_(mlp.up_proj(x)))
    return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of [n, heads, d]; halves are paired, as transformers does."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin
