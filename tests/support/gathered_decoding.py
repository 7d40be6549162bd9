"""Greedy decoding where rows leave and merge between layers, in float64 by transformers' layers.

No cache and none of the engine's code: each token runs the whole sequence through every layer
again, in eager attention, and between layers rows are picked and averaged by Python's own lists.
What is picked is decided once, from the prompt alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from hired_core.language.model import LanguageModel, Request


@dataclass(kw_only=True)
class Prompt:
    """A prompt between two layers, all in float64.

    Attributes:
        inputs: [n0, D], rows as they entered the first layer; `input_visual` of them are visual.
        hidden: [n, D], those that are left.
        visual, text: which of the n are visual, and which text after the image.
        attention, keys: [H, n, n] and [G, n, d] of the layer before.
        ahead: [H, n, n], attention in the layer itself.
    """

    inputs: Tensor
    input_visual: list[int]
    hidden: Tensor
    visual: list[int]
    text: list[int]
    attention: Tensor
    keys: Tensor
    ahead: Tensor


@dataclass(kw_only=True)
class Picked:
    """Rows that stay, as indices of the n; and clusters that go on as means, by their centre."""

    kept: list[int]
    clusters: dict[int, list[int]] = field(default_factory=dict)


Pick = Callable[[Prompt, int], Picked]
"""(prompt, count) -> what becomes of its visual rows."""

Step = list[tuple[list[int], int]]
"""For each row that goes on, which are averaged for it, and whose position it takes."""


class Gathered:
    """A decoder whose rows leave by `pick`.

    Args:
        drops: at the entry of which layers, and how many visual rows are left from there on.
    """

    def __init__(self, model: LanguageModel, drops: Mapping[int, int], pick: Pick) -> None:
        self._model, self._drops, self._pick = model, drops, pick
        self._decoder = _exact(model.decoder)

    @torch.inference_mode()
    def generate(self, request: Request, max_new_tokens: int) -> list[int]:
        """Before the stop token; batch 1."""
        hidden = self._model.embed(request).double()
        positions, start = request.positions(), len(request.before)
        visual = [start + i for i, t in enumerate(request.sequence.tolist()) if t >= 0]
        steps = self._decide(hidden, positions, visual, len(request.after))
        found: list[int] = []
        while len(found) < max_new_tokens:
            logits = self._logits(hidden, positions, steps)
            found.append(int(logits.argmax()))
            if found[-1] in self._model.stop_ids:
                return found[:-1]
            word = self._decoder.get_input_embeddings()(torch.tensor(found[-1:]))
            hidden = torch.cat([hidden, word])
            positions = torch.cat([positions, positions[-1:] + 1])
        return found

    def _decide(
        self, hidden: Tensor, positions: Tensor, visual: list[int], num_text: int
    ) -> dict[int, Step]:
        """What goes on at each of the drops."""
        steps: dict[int, Step] = {}
        inputs, input_visual = hidden, visual
        attention = keys = torch.empty(0)
        for index in range(len(self._decoder.model.layers)):
            count, end = self._drops.get(index, len(visual)), hidden.shape[0]
            if len(visual) > count:
                prompt = Prompt(
                    inputs=inputs,
                    input_visual=input_visual,
                    hidden=hidden,
                    visual=visual,
                    text=list(range(end - num_text, end)),
                    attention=attention,
                    keys=keys,
                    ahead=self._layer(index, hidden, positions)[1],
                )
                steps[index], visual = _step(prompt, self._pick(prompt, count))
                assert len(visual) == count, "picked another number of rows"
                hidden, positions = _gather(hidden, positions, steps[index])
            hidden, attention, keys = self._layer(index, hidden, positions)
        return steps

    def _logits(self, hidden: Tensor, positions: Tensor, steps: Mapping[int, Step]) -> Tensor:
        for index in range(len(self._decoder.model.layers)):
            hidden, positions = _gather(hidden, positions, steps.get(index))
            hidden, _, _ = self._layer(index, hidden, positions)
        logits: Tensor = self._decoder.lm_head(self._decoder.model.norm(hidden[-1:]))
        return logits

    def _layer(
        self, index: int, hidden: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, attention and keys of one layer."""
        layer, count = self._decoder.model.layers[index], hidden.shape[0]
        mask = torch.full((count, count), -torch.inf, dtype=torch.float64).triu(1)
        cos, sin = self._decoder.model.rotary_emb(hidden, positions[None])
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


def _step(prompt: Prompt, picked: Picked) -> tuple[Step, list[int]]:
    """Every row that goes on, merged ones right before the text; and which of them are visual."""
    gone = set(prompt.visual) - set(picked.kept)
    rows: Step = [([i], i) for i in range(prompt.text[0]) if i not in gone]
    visual = [at for at, (_, i) in enumerate(rows) if i in picked.kept]
    for centre in sorted(picked.clusters):
        visual.append(len(rows))
        rows.append((picked.clusters[centre], centre))
    return rows + [([i], i) for i in prompt.text], visual


def _gather(hidden: Tensor, positions: Tensor, step: Step | None) -> tuple[Tensor, Tensor]:
    """What goes on, and all rows behind the prompt's."""
    if step is None:
        return hidden, positions
    end = 1 + max(i for rows, _ in step for i in rows)
    means = torch.stack([hidden[rows].mean(0) for rows, _ in step])
    places = positions[[place for _, place in step]]
    return torch.cat([means, hidden[end:]]), torch.cat([places, positions[end:]])


@cache
def _exact(decoder: Any) -> Any:
    exact = copy.deepcopy(decoder).double()
    exact.set_attn_implementation("eager")
    return exact


def by_last_word_ahead(prompt: Prompt, count: int) -> Picked:
    """PyramidDrop's rule, written apart."""
    score = prompt.ahead[:, -1].mean(0).tolist()
    return Picked(kept=_highest(prompt.visual, score, count))


def by_pivots(visual_pivots: int, text_pivots: int) -> Pick:
    """DART's rule, written apart."""

    def pick(prompt: Prompt, count: int) -> Picked:
        norm = prompt.keys.abs().sum(dim=(0, 2)).tolist()
        own = sorted(prompt.visual, key=lambda i: (-norm[i], i))[:visual_pivots][:count]
        text = sorted(prompt.text, key=lambda i: (-norm[i], i))[:text_pivots]
        left, kept = set(prompt.visual) - set(own), list(own)
        for turn, pivot in enumerate(own + text):
            share = (count - len(own)) // len(own + text)
            share += turn < (count - len(own)) % len(own + text)
            alike = {
                i: float(torch.cosine_similarity(prompt.hidden[i], prompt.hidden[pivot], dim=0))
                for i in left
            }
            taken = sorted(left, key=lambda i: (alike[i], i))[:share]
            left -= set(taken)
            kept += taken
        return Picked(kept=sorted(kept))

    return pick


def by_raters(recycle: bool) -> Pick:
    """SparseVLM's rule, written apart."""

    def pick(prompt: Prompt, count: int) -> Picked:
        image = prompt.inputs[prompt.input_visual]
        words = prompt.inputs[len(prompt.inputs) - len(prompt.text) :]
        match = (image @ words.T).softmax(-1).mean(0)
        raters = [t for t, m in zip(prompt.text, match, strict=True) if m > match.mean()]
        score = prompt.attention.mean(0)[raters or prompt.text].mean(0).tolist()
        if not recycle or count == 1:
            return Picked(kept=_highest(prompt.visual, score, count))
        wanted = 1
        while True:
            leaving = len(prompt.visual) - (count - wanted)
            recycled = int(0.3 * leaving) + 1
            clusters = min(recycled // 10 + 1, count // 2)
            if clusters == wanted:
                break
            wanted = clusters
        kept = _highest(prompt.visual, score, count - clusters)
        rest = [i for i in prompt.visual if i not in kept]
        rows = _highest(rest, score, recycled)
        return Picked(kept=kept, clusters=density_clusters(prompt.hidden, rows, clusters))

    return pick


def density_clusters(hidden: Tensor, rows: Sequence[int], count: int) -> dict[int, list[int]]:
    """DPC-kNN row by row: members of each cluster, by the row at its centre."""
    size = hidden.shape[1]
    apart = {
        (i, j): float((hidden[i] - hidden[j]).square().sum() / size) ** 0.5
        for i in rows
        for j in rows
    }
    density = {
        i: -sum(sorted(apart[i, j] ** 2 for j in rows)[:count]) / min(count, len(rows))
        for i in rows
    }
    score = {}
    for i in rows:
        denser = [j for j in rows if (density[j], -j) > (density[i], -i)]
        delta = min((apart[i, j] for j in denser), default=max(apart.values()))
        score[i] = delta * torch.tensor(density[i], dtype=torch.float64).exp().item()
    centres = sorted(sorted(rows, key=lambda i: (-score[i], i))[:count])
    found: dict[int, list[int]] = {centre: [centre] for centre in centres}
    for i in rows:
        if i not in found:
            found[min(centres, key=lambda c: (apart[i, c], c))].append(i)
    return found


def _highest(rows: Sequence[int], score: Sequence[float], count: int) -> list[int]:
    return sorted(sorted(rows, key=lambda i: (-score[i], i))[:count])
