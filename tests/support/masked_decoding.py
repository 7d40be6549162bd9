"""Greedy decoding under a schedule, by transformers' own layers over whole sequences, masked.

No cache, no gathered rows and none of the engine's code: each token runs the whole sequence through
every layer again, and what a layer no longer sees is masked out as a key.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel, Request
from hired_core.methods.schedule import KeepSchedule
from tests.support.halves import slot_layout

NEWLINE = -1
Score = Callable[[Tensor, Tensor], Tensor]
"""(attention of a layer [H, n, n], its keys [G, n, d]) -> [n]."""


def by_last_attention(attention: Tensor, keys: Tensor) -> Tensor:
    return attention[:, -1].mean(0)


def by_small_keys(attention: Tensor, keys: Tensor) -> Tensor:
    return -keys.abs().sum(dim=(0, 2))


class Masked:
    """A decoder in eager attention, that shows what its layers see.

    Args:
        drops: at the entry of which layers, and how many visual rows stay from there on.
    """

    def __init__(self, model: LanguageModel, drops: Mapping[int, int], score: Score) -> None:
        self._model = model
        self._decoder = _eager(model.decoder)
        self._drops = drops
        self._score = score
        self._config = model.decoder.config

    @torch.inference_mode()
    def generate(self, request: Request, max_new_tokens: int) -> list[int]:
        """Before the stop token; batch 1."""
        sequence, positions = self._model.embed(request), request.positions()
        before = len(request.before)
        visual = [before + i for i, t in enumerate(request.sequence.tolist()) if t != NEWLINE]
        seen = self._seen(sequence, positions, visual)
        found: list[int] = []
        while len(found) < max_new_tokens:
            hidden = self._forward(sequence, positions, seen)
            logits = self._decoder.lm_head(self._decoder.model.norm(hidden[-1:]))
            found.append(int(logits.argmax()))
            if found[-1] in self._model.stop_ids:
                return found[:-1]
            word = self._decoder.get_input_embeddings()(torch.tensor(found[-1:]))
            wide = functional.pad(word, (0, sequence.shape[1] - word.shape[1]))
            sequence = torch.cat([sequence, wide])
            positions = torch.cat([positions, positions[-1:] + 1])
            seen = [torch.cat([rows, torch.tensor([True])]) for rows in seen]
        return found

    def _seen(self, sequence: Tensor, positions: Tensor, visual: list[int]) -> list[Tensor]:
        """For each layer bool [n]: the rows of the prompt that it sees."""
        hidden = sequence[:, : self._config.hidden_size]
        rows, seen = torch.ones(len(positions), dtype=torch.bool), []
        attention = keys = torch.empty(0)
        for index in range(len(self._decoder.model.layers)):
            if index in self._drops:
                score = self._score(attention, keys).tolist()
                left = [at for at in visual if rows[at]]
                ranked = sorted(left, key=lambda at: (-score[at], at))
                rows = rows.clone()
                rows[ranked[self._drops[index] :]] = False
            hidden, attention, keys = self._layer(index, hidden, positions, rows)
            hidden = self._added(index, hidden, sequence)
            seen.append(rows)
        return seen

    def _forward(self, sequence: Tensor, positions: Tensor, seen: Sequence[Tensor]) -> Tensor:
        hidden = sequence[:, : self._config.hidden_size]
        for index, rows in enumerate(seen):
            hidden, _, _ = self._layer(index, hidden, positions, rows)
            hidden = self._added(index, hidden, sequence)
        return hidden

    def _added(self, index: int, hidden: Tensor, sequence: Tensor) -> Tensor:
        """With what the layer adds to rows: the next D numbers of each, where there are any."""
        width = self._config.hidden_size
        more = sequence[:, (index + 1) * width : (index + 2) * width]
        return hidden + more if more.shape[1] else hidden

    def _layer(
        self, index: int, hidden: Tensor, positions: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, attention and keys of one layer; a dropped row sees only itself."""
        layer, count = self._decoder.model.layers[index], hidden.shape[0]
        visible = torch.ones(count, count, dtype=torch.bool).tril() & rows
        visible |= torch.eye(count, dtype=torch.bool)
        mask = torch.zeros(count, count).masked_fill(~visible, torch.finfo(torch.float32).min)
        ids = positions[None] if positions.ndim == 1 else positions.T[:, None]
        cos, sin = self._decoder.model.rotary_emb(hidden, ids)
        noted: list[Any] = [None, None]
        hooks = [
            layer.self_attn.register_forward_hook(lambda _, __, out: noted.__setitem__(0, out[1])),
            layer.self_attn.k_proj.register_forward_hook(
                lambda _, __, out: noted.__setitem__(1, out)
            ),
        ]
        out = layer(hidden[None], attention_mask=mask[None, None], position_embeddings=(cos, sin))
        for hook in hooks:
            hook.remove()
        keys = noted[1].view(1, count, -1, layer.self_attn.head_dim).transpose(1, 2)
        rotated, _ = apply_rotary_pos_emb(keys, keys, cos, sin)
        return out[0], noted[0][0], rotated[0]


@cache
def _eager(decoder: Any) -> Any:
    eager = copy.deepcopy(decoder)
    eager.set_attn_implementation("eager")
    return eager


def scheduled_backend(
    model: LanguageModel,
    requests: Sequence[Request],
    schedule: KeepSchedule,
    *,
    max_new_tokens: int,
    num_slots: int = 3,
    chunk: int = 4096,
    **settings: Any,
) -> SlotBackend:
    """Its slots have in each layer what the most text and the most visual tokens need there."""
    visual = [int((request.sequence != NEWLINE).sum()) for request in requests]
    other = max(r.num_prompt_tokens - v for r, v in zip(requests, visual, strict=True))
    shift = max(request.shift for request in requests)
    length = other + max(visual) + max_new_tokens
    layout = slot_layout(
        num_slots,
        length,
        chunk,
        rotary_length=length + shift,
        schedule=schedule,
        num_visual=max(visual),
    )
    given = GenerationSettings(max_new_tokens=max_new_tokens, **settings)
    return SlotBackend(model, given, layout)
