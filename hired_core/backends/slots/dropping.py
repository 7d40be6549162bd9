"""Between two layers of a prompt: which rows go on, by what a method's ranker chooses.

Nothing here waits for the device: how many rows stay follows from counts alone. Legend: n rows of
the prompt that are being read, V visual ones among them, T rows of the text after the image, L
positions of the prompt so far, H heads, G key-value heads, d head size, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.methods.schedule import Ask, Choice, Ranker, Shown
from hired_core.methods.scores import exact_sum

QUERIES_AT_ONCE: Final = 256
"""Of all heads, whose attention to the whole prompt is computed at once for the text."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of a prompt on their way through the layers.

    Attributes:
        hidden: [n, D].
        rotary: int64 [n] or [n, 3], rotary positions; a row keeps its own when others leave.
        visual: int64 [V], ascending: which of them are visual tokens. None: nobody asks.
        num_text: how many of the last rows are text after the image.
        added: [n, d, D], what the decoder's first d layers add to each row; None: nothing.
    """

    hidden: Tensor
    rotary: Tensor
    visual: Tensor | None = None
    num_text: int = 0
    added: Tensor | None = None

    @property
    def num_asking(self) -> int:
        """T: rankers look at the text after the image, and at the last row where there is none."""
        return max(1, self.num_text)

    def part(self, rows: slice) -> Rows:
        """Some of them, of which nothing is to be dropped."""
        added = None if self.added is None else self.added[rows]
        return Rows(hidden=self.hidden[rows], rotary=self.rotary[rows], added=added)

    def left(self, visual: Tensor, choice: Choice) -> Rows:
        """All but the visual rows that are not kept; merged ones come before the text."""
        kept = visual[choice.kept]
        stays = torch.ones(len(self.rotary), dtype=torch.bool, device=self.rotary.device)
        # Written by `index_fill_`: a number put in place would be uploaded, and waited for.
        stays.index_fill_(0, visual, False).index_fill_(0, kept, True)
        left = self.rotary.shape[0] - visual.shape[0] + kept.shape[0]
        # Sorted rather than found: how many there are is known here, and not only on the device.
        index = stays.logical_not().byte().argsort(stable=True)[:left]
        rows = Rows(
            hidden=self.hidden[index],
            rotary=self.rotary[index],
            visual=stays.cumsum(0)[kept] - 1,
            num_text=self.num_text,
            added=None if self.added is None else self.added[index],
        )
        if choice.merged is None or choice.centre is None:
            return rows
        return rows.joined_by(choice.merged, self.rotary[visual[choice.centre]])

    def joined_by(self, merged: Tensor, rotary: Tensor) -> Rows:
        """With visual rows [M, D] more, right before the text after the image."""
        assert self.visual is not None, "rows are merged among visual ones"
        at = self.rotary.shape[0] - self.num_text
        places = torch.arange(at, at + merged.shape[0], device=rotary.device)
        added = self.added
        if added is not None:
            nothing = added.new_zeros(merged.shape[0], *added.shape[1:])
            added = torch.cat([added[:at], nothing, added[at:]])
        return Rows(
            hidden=torch.cat([self.hidden[:at], merged.to(self.hidden.dtype), self.hidden[at:]]),
            rotary=torch.cat([self.rotary[:at], rotary, self.rotary[at:]]),
            visual=torch.cat([self.visual, places]),
            num_text=self.num_text,
            added=added,
        )


@dataclass(frozen=True, kw_only=True)
class Between:
    """What there is to be shown of a prompt that stands between two layers.

    Attributes:
        rows: what enters the next layer: all that is being read.
        inputs: what entered the first layer.
        start: position of the slot that the first row has.
        keys: [G, L, d], of the layer before.
        queries: [q, H, d], of the last rows in the layer before, times the scale of attention; as
            many as `queries_wanted` says.
        look_ahead: gives, for the layer itself, the last row's query [H, d], scaled, and keys
            [G, L, d].
    """

    rows: Rows
    inputs: Rows
    start: int
    keys: Tensor
    queries: Tensor
    look_ahead: Callable[[], tuple[Tensor, Tensor]]


def queries_wanted(asks: Collection[Ask], num_asking: int) -> int:
    """How many of the last rows' queries in the layer before the asks are answered from."""
    return num_asking if "text_attention" in asks else int("last_attention" in asks)


def drop(count: int, ranker: Ranker, at: Between) -> Rows:
    """The rows with `count` visual ones; there are more."""
    visual = at.rows.visual
    assert visual is not None and visual.shape[0] > count, "nothing is to be dropped"
    choice = ranker.choose(_show(ranker.asks, count, visual, at))
    merged = 0 if choice.merged is None else choice.merged.shape[0]
    assert choice.kept.shape[0] + merged == count, "the ranker leaves another number of rows"
    return at.rows.left(visual, choice)


def _show(asks: Collection[Ask], count: int, visual: Tensor, at: Between) -> Shown:
    """What the ranker asks for, and nothing else."""
    text, cells = at.rows.num_asking, at.start + visual
    fields: dict[str, Tensor] = {}
    if "last_attention" in asks:
        fields["last_attention"] = last_attention(at.queries[-1], at.keys)[:, cells]
    if "next_attention" in asks:
        fields["next_attention"] = last_attention(*at.look_ahead())[:, cells]
    if "text_attention" in asks:
        fields["text_attention"] = text_attention(at.queries, at.keys, cells)
    if "keys" in asks:
        fields |= {"keys": at.keys[:, cells], "text_keys": at.keys[:, -text:]}
    if "hidden" in asks:
        hidden = at.rows.hidden
        fields |= {"hidden": hidden[visual], "text_hidden": hidden[-text:]}
    if "inputs" in asks and at.inputs.visual is not None:
        given = at.inputs.hidden
        fields |= {"inputs": given[at.inputs.visual], "text_inputs": given[-text:]}
    return Shown(count=count, **fields)


def last_attention(query: Tensor, keys: Tensor) -> Tensor:
    """float32 [H, L]: probabilities of a query [H, d], scaled, over keys [G, L, d].

    In float32 throughout: ranks lie closer together than half precision can tell.
    """
    grouped = query.float().view(keys.shape[0], -1, keys.shape[-1])
    return (grouped @ keys.float().mT).softmax(-1).flatten(0, 1)


def text_attention(queries: Tensor, keys: Tensor, wanted: Tensor) -> Tensor:
    """float64 [T, V]: probabilities of the last T positions, averaged over heads.

    Each over the positions up to its own. A few queries at a time, so that the memory it takes does
    not grow with the text; the mean is the same in every order of summation.

    Args:
        queries: [T, H, d], scaled.
        keys: [G, L, d].
        wanted: int64 [V], the positions to tell of.
    """
    (groups, length, size), heads = keys.shape, queries.shape[1]
    keys, first = keys.float(), length - queries.shape[0]
    found, step = list[Tensor](), max(1, QUERIES_AT_ONCE // heads)
    for at in range(0, queries.shape[0], step):
        part = queries[at : at + step].float()
        upto = first + at + part.shape[0]
        grouped = part.transpose(0, 1).reshape(groups, -1, size) @ keys[:, :upto].mT
        hidden = torch.ones(part.shape[0], upto, dtype=torch.bool, device=keys.device)
        hidden = hidden.triu(first + at + 1)
        scores = grouped.view(heads, -1, upto).masked_fill(hidden, -torch.inf)
        found.append(exact_sum(scores.softmax(-1)[..., wanted], dim=0) / heads)
    return torch.cat(found)
