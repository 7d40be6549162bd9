"""The next token of each slot, and where it is kept: all on the device, no copy to the host.

Legend: A slots in use, S slots, V vocabulary, M tokens a slot may generate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hired_core.backends.slots.penalties import forbid_ngrams, forbid_stop, penalise_repeats
from hired_core.language.generation import GenerationSettings
from hired_core.language.grammar import forbid, has_choice
from hired_core.methods.selection import uniform
from hired_core.transfer import upload


def choose(
    logits: Tensor, seeds: Tensor, steps: Tensor, *, temperature: float, top_p: float
) -> Tensor:
    """int64 [A]: the most likely token, or one drawn from the smallest set of probability `top_p`.

    A draw is a fixed function of (seed, step): it depends neither on what shares the batch nor on
    when a slot was filled.

    Args:
        logits: float32 [A, V].
        seeds, steps: int64 [A].
    """
    if temperature == 0:
        return logits.argmax(-1)
    probabilities, order = (
        (logits / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    )
    upto = probabilities.cumsum(-1)
    # A token is in the set if those before it fall short of top_p; the first always is.
    probabilities = probabilities * (upto - probabilities < top_p)
    upto = probabilities.cumsum(-1)
    total = upto[:, -1:]
    drawn = uniform(seeds, steps)[:, None].to(upto.dtype) * total
    # In float32 a draw just below 1 is 1, and would point behind the set.
    drawn = torch.minimum(drawn, total.nextafter(torch.zeros_like(total)))
    place = (upto <= drawn).sum(-1, keepdim=True)
    return order.gather(-1, place)[:, 0]


class SlotState:
    """What each slot is about to read and has generated.

    Attributes:
        tokens: int64 [S], chosen last, not yet read.
        positions: int64 [S], where `tokens` will be read.
        dropped: int64 [S] for each drop between layers: how far behind positions are from there on.
        shifts: int64 [S], how far ahead of that their rotary positions are.
        generated: int64 [S, M]; `counts` int64 [S] of them are real.
        finished: bool [S], whether a stop token was among them, or nothing is to come any more.
        broken: bool [S], whether the model's output was once not a number; such a slot is finished.
        flags: bool [2, S], these two.
        running: int64 [S], 1 where a request is under way. Idle slots below a busy one are computed
            along, over and over at the same position, which no request looks at any more.
        masks: int32 [S, W], the tokens that may come next (`hired_core.language.grammar`); None
            where any may.
    """

    def __init__(
        self,
        *,
        num_slots: int,
        settings: GenerationSettings,
        stop_ids: Collection[int],
        device: torch.device,
        num_drops: int = 0,
        mask_words: int | None = None,
    ) -> None:
        self._settings = settings
        self._stop = torch.tensor(sorted(stop_ids), device=device)
        # One tensor: a slot is begun with one copy from the host, which then need not wait.
        table = torch.zeros(6 + num_drops, num_slots, dtype=torch.long, device=device)
        self.tokens, self.positions, self.counts = table[0], table[1], table[2]
        self.shifts, self.seeds, self.running = table[3], table[4], table[5]
        self.dropped = [table[6 + at] for at in range(num_drops)]
        self.generated = torch.zeros(
            num_slots, settings.max_new_tokens, dtype=torch.long, device=device
        )
        self.flags = torch.zeros(2, num_slots, dtype=torch.bool, device=device)
        self.finished, self.broken = self.flags[0], self.flags[1]
        self._table = table
        self.masks: Tensor | None = None
        if mask_words is not None:
            self.masks = torch.full((num_slots, mask_words), -1, dtype=torch.int32, device=device)

    def begin(
        self,
        slot: int,
        logits: Tensor,
        *,
        length: int,
        seed: int,
        shift: int = 0,
        dropped: Sequence[int] = (),
    ) -> None:
        """A prompt of `length` positions was read; float [V], the logits after it, are used up."""
        entry = torch.tensor([0, length - 1, 0, shift, seed, 1, *dropped])
        self._table[:, slot].copy_(upload(entry, self._table.device))
        self.flags[:, slot].zero_()
        self._accept(slice(slot, slot + 1), logits[None])

    def advance(self, logits: Tensor) -> None:
        """Each of the first A slots has read its token; float [A, V], the logits after it,
        are used up."""
        self._accept(slice(0, logits.shape[0]), logits)

    def end(self, slot: int) -> None:
        self.running[slot].zero_()

    def clone(self) -> list[Tensor]:
        return [tensor.clone() for tensor in self._tensors()]

    def restore(self, saved: list[Tensor]) -> None:
        """In place: whoever holds the tensors sees it."""
        for tensor, before in zip(self._tensors(), saved, strict=True):
            tensor.copy_(before)

    def _tensors(self) -> list[Tensor]:
        return [self._table, self.generated, self.flags]

    def _constrain(self, logits: Tensor, slots: slice) -> None:
        """In place, in transformers' order; what is not asked for costs nothing.

        Where bans would leave a masked row no token at all, the mask alone holds.
        """
        settings, counts = self._settings, self.counts[slots]
        if settings.repetition_penalty != 1:
            penalty = settings.repetition_penalty
            penalise_repeats(logits, self.generated[slots], counts, penalty)
        if self.masks is not None:
            forbid(logits, self.masks[slots])
        if settings.no_repeat_ngram_size or settings.min_new_tokens:
            allowed = None if self.masks is None else logits.clone()
            self._ban(logits, self.generated[slots], counts)
            if allowed is not None:
                torch.where(has_choice(logits), logits, allowed, out=logits)

    def _ban(self, logits: Tensor, generated: Tensor, counts: Tensor) -> None:
        settings = self._settings
        if settings.no_repeat_ngram_size:
            forbid_ngrams(logits, generated, counts, settings.no_repeat_ngram_size)
        if settings.min_new_tokens:
            forbid_stop(logits, counts, self._stop, settings.min_new_tokens)

    def _accept(self, slots: slice, logits: Tensor) -> None:
        settings, counts = self._settings, self.counts[slots]
        # Before constraints: they may forbid tokens by -inf. The highest is NaN if one is.
        broken = ~logits.amax(-1).isfinite()
        self._constrain(logits, slots)
        chosen = choose(
            logits,
            self.seeds[slots],
            counts,
            temperature=settings.temperature,
            top_p=settings.top_p,
        )
        # An idle slot may have used up its places; its last one is nobody's any more.
        place = counts.clamp(max=self.generated.shape[1] - 1)
        ended = (chosen[:, None] == self._stop).any(-1) | broken
        # Nothing below asks for memory: a step that runs out of it has changed no state.
        self.tokens[slots].copy_(chosen)
        self.generated[slots].scatter_(1, place[:, None], chosen[:, None])
        self.broken[slots].logical_or_(broken)
        self.finished[slots].logical_or_(ended)
        self._table[1:3, slots].add_(self.running[slots])  # Positions and counts.


class Look:
    """What slots have come to; by then, all that was queued on the device is done.

    What they have generated is fetched when it is first asked for, for all slots at once.

    Attributes:
        finished, broken: by slot, as of `SlotState`.
    """

    def __init__(self, state: SlotState) -> None:
        self.finished: list[bool]
        self.broken: list[bool]
        self.finished, self.broken = state.flags.tolist()
        self._state = state
        self._generated: Tensor | None = None

    def generated(self, slot: int, count: int) -> list[int]:
        """The first tokens of a slot."""
        if self._generated is None:
            self._generated = self._state.generated.cpu()
        found: list[int] = self._generated[slot, :count].tolist()
        return found
