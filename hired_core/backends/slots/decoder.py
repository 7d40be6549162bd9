"""The decoder's forward pass over a slot cache: reading prompts, and one token of many slots.

Two passes share one walk over the layers: a run of positions of one slot (prefill), and one
position of many slots (decode). The last layer computes only the positions that are wanted: one
when a prompt ends, none before. With a `KeepSchedule` the layers are walked a segment at a time,
each with a cache of its own length. Legend: n tokens of a call, A slots in use, H heads,
G key-value heads, d head size, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from hired_core.backends.slots.cache import SlotCache, num_cells
from hired_core.backends.slots.dropping import Between, Rows, drop, queries_wanted
from hired_core.backends.slots.layers import DecoderLayers, check_decoder
from hired_core.backends.slots.memory import SlotLayout
from hired_core.methods.schedule import KeepSchedule


class SlotDecoder:
    """Llama-style decoder and the caches of its layers.

    Args:
        decoder: transformers' causal language model, in evaluation mode.
        layout: slots, their lengths and what is dropped between layers.

    Attributes:
        caches: one for each segment of layers that see the same rows; without a schedule, one.
        chunk: positions of a prompt that go through the layers at once.

    Raises:
        UnsupportedDecoderError: if these are not layers that the engine can run.
        ValueError: if the schedule drops at a layer that the decoder does not have.
    """

    def __init__(self, decoder: Any, layout: SlotLayout) -> None:
        check_decoder(decoder.config, layout.max_length)
        on_gpu = decoder.device.type == "cuda"
        longest = num_cells(layout.max_length, on_gpu=on_gpu)
        self._layers = layers = DecoderLayers(decoder, max(layout.rotary_length, longest))
        self.chunk = layout.chunk
        self._schedule = layout.schedule
        whole = [range(len(layers))]
        segments = layout.schedule.segments(len(layers)) if layout.schedule else whole
        self.caches = [
            SlotCache(
                layers=segment,
                num_slots=layout.num_slots,
                num_heads=layers.num_kv_heads,
                max_length=length,
                head_dim=layers.head_dim,
                device=layers.device,
                dtype=layers.dtype,
            )
            for segment, length in zip(segments, layout.lengths, strict=True)
        ]

    @property
    def num_logits(self) -> int:
        """V."""
        return self._layers.num_logits

    @torch.inference_mode()
    def prefill(
        self,
        embeds: Tensor,
        slot: int,
        start: int,
        rotary: Tensor | None = None,
        visual: Tensor | None = None,
        num_text: int = 0,
    ) -> Tensor:
        """Reads [n, D] into positions start.. of a slot; float [V], the logits after the last.

        Args:
            embeds: [n, (1 + d) D] where the first d layers add something to rows.
            start: positions that the slot holds already, none of them of a visual token if there is
                a schedule; so they are the same in all caches.
            rotary: int64 [n] or [n, 3], rotary positions; by default those of the slot.
            visual: int64, ascending: which of the n rows are visual tokens; for a schedule.
            num_text: how many of the last rows are text after the image; likewise.
        """
        if rotary is None:
            rotary = self._layers.positions[start : start + embeds.shape[0]]
        width = self._layers.width
        rows = Rows(
            hidden=embeds[:, :width],
            rotary=rotary,
            visual=visual,
            num_text=num_text,
            added=embeds[:, width:].unflatten(-1, (-1, width)) if embeds.shape[1] > width else None,
        )
        if self._schedule is not None:
            rows = self._read_to_last(rows, slot, start, self._schedule)
        return self._layers.logits(self._read_last(self.caches[-1], rows, slot, start))[0]

    @torch.inference_mode()
    def decode(
        self,
        tokens: Tensor,
        positions: Tensor,
        shifts: Tensor,
        dropped: Sequence[Tensor],
        longest: Sequence[int],
    ) -> Tensor:
        """Reads one token of each of the first A slots; float [A, V], the logits after it.

        Args:
            tokens, positions: int64 [A].
            shifts: int64 [A], how far rotary positions are ahead of those in the slot.
            dropped: int64 [A] for each cache after the first: how far positions in it are behind.
            longest: for each cache, above all positions; no cell from there on is read.
        """
        hidden, rotary = self._layers.embed(tokens), positions + shifts
        places = [positions, *(positions - behind for behind in dropped)]
        for cache, place, upto in zip(self.caches, places, longest, strict=True):
            hidden = self._step(cache, hidden, rotary, place, upto)
        return self._layers.logits(hidden)

    def _step(
        self, cache: SlotCache, hidden: Tensor, rotary: Tensor, positions: Tensor, longest: int
    ) -> Tensor:
        """[A, D] after the layers of one cache."""
        count = hidden.shape[0]
        visible = self._layers.positions[:longest] <= positions[:, None]
        mask = visible[:, None, None]

        def store(layer: int, keys: Tensor, values: Tensor) -> None:
            cache.write_step(layer, positions, keys, values)

        def attend(layer: int, queries: Tensor) -> Tensor:
            keys, values = (cells[:count, :, :longest] for cells in cache.of_layer(layer))
            # Query heads that share a key-value head go in as positions: nothing is repeated.
            grouped = queries.view(count, keys.shape[1], -1, self._layers.head_dim)
            return F.scaled_dot_product_attention(
                grouped, keys, values, attn_mask=mask, scale=self._layers.scale
            ).flatten(1)

        return self._layers.walk(hidden, rotary, cache.layers, store, attend, slice(0, count))

    def _read_to_last(self, inputs: Rows, slot: int, start: int, schedule: KeepSchedule) -> Rows:
        """What is left for the layers after the last drop."""
        rows, asks = inputs, schedule.ranker.asks
        wanted = queries_wanted(asks, inputs.num_asking)
        for (cache, ahead), count in zip(pairwise(self.caches), schedule.counts, strict=True):
            drops = rows.visual is not None and rows.visual.shape[0] > count
            rows, queries = self._read_segment(cache, rows, slot, start, wanted if drops else 0)
            if drops:
                end = start + rows.rotary.shape[0]
                between = Between(
                    rows=rows,
                    inputs=inputs,
                    start=start,
                    keys=cache.of_layer(cache.layers[-1])[0][slot, :, :end],
                    queries=queries,
                    look_ahead=partial(self._look_ahead, ahead, rows, slot, start),
                )
                rows = drop(count, schedule.ranker, between)
        return rows

    def _look_ahead(
        self, cache: SlotCache, rows: Rows, slot: int, start: int
    ) -> tuple[Tensor, Tensor]:
        """In the first layer of a cache: the last row's query [H, d], scaled, and all keys."""
        layer, query = cache.layers[0], torch.empty(0)
        keys = [cache.of_layer(layer)[0][slot, :, :start]]
        for at in range(0, rows.rotary.shape[0], self.chunk):
            part = slice(at, at + self.chunk)
            query, found = self._layers.project(layer, rows.hidden[part], rows.rotary[part])
            keys.append(found.transpose(0, 1))
        return query.float() * self._layers.scale, torch.cat(keys, dim=1)

    def _read_segment(
        self, cache: SlotCache, rows: Rows, slot: int, start: int, num_queries: int
    ) -> tuple[Rows, Tensor]:
        """The rows after layers that are not the last; the last rows' queries [q, H, d], scaled."""
        out, queries = torch.empty_like(rows.hidden), list[Tensor]()
        first = out.shape[0] - num_queries
        for at in range(0, out.shape[0], self.chunk):
            part = slice(at, at + self.chunk)
            end = min(at + self.chunk, out.shape[0])
            out[part] = self._read(
                cache,
                rows.part(part),
                slot,
                start + at,
                num_queries=min(max(end - first, 0), end - at),
                queries_kept=queries,
            )
        kept = torch.cat(queries) if queries else out.new_empty(0)
        return replace(rows, hidden=out), kept.float() * self._layers.scale

    def _read_last(self, cache: SlotCache, rows: Rows, slot: int, start: int) -> Tensor:
        """[1, D]: the last row after the last layers."""
        count = rows.hidden.shape[0]
        for at in range(0, count - self.chunk, self.chunk):
            self._read(cache, rows.part(slice(at, at + self.chunk)), slot, start + at, wanted=0)
        whole = (count - 1) // self.chunk * self.chunk
        return self._read(cache, rows.part(slice(whole, count)), slot, start + whole, wanted=1)

    def _read(
        self,
        cache: SlotCache,
        read: Rows,
        slot: int,
        start: int,
        *,
        wanted: int = 0,
        num_queries: int = 0,
        queries_kept: list[Tensor] | None = None,
    ) -> Tensor:
        """A chunk's rows after the layers of a cache; of the decoder's last, the last `wanted`.

        Args:
            queries_kept: gets the last `num_queries` rows' queries in the last of these layers.
        """
        count = read.hidden.shape[0]
        end = start + count

        def store(layer: int, keys: Tensor, values: Tensor) -> None:
            cache.write_run(layer, slot, start, keys, values)

        def attend(layer: int, queries: Tensor) -> Tensor:
            if num_queries and queries_kept is not None and layer == cache.layers[-1]:
                queries_kept.append(queries[-num_queries:].clone())  # A view would keep all.
            keys, values = (cells[None, slot, :, :end] for cells in cache.of_layer(layer))
            return self._attend_causally(queries, keys, values)

        rows, layers = slice(count - wanted, count), cache.layers
        return self._layers.walk(
            read.hidden, read.rotary, layers, store, attend, rows, added=read.added
        )

    def _attend_causally(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """[n, H*d] of queries [n, H, d], the last of as many as there are keys [1, G, end, d]."""
        asked = _padded(queries, keys.shape[2])
        found = F.scaled_dot_product_attention(
            asked.transpose(0, 1)[None],
            keys,
            values,
            scale=self._layers.scale,
            enable_gqa=asked.shape[1] != keys.shape[1],
            **_causality(asked.shape[0], keys.shape[2], asked.device),
        )
        return found[0].transpose(0, 1).flatten(1)[-queries.shape[0] :]


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
