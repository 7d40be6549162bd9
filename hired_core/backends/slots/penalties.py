"""What a token may not be, or is less likely to be, for what was generated before it.

Each function changes logits in place, and is what transformers' processor of the same purpose does
to float32 logits, number by number. Prompts play no part, as in its `generate` on embeddings. All
shapes are fixed and nothing is copied to the host: a CUDA graph can hold them.
Legend: A slots in use, V vocabulary, M tokens a slot may generate.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["forbid_ngrams", "forbid_stop", "penalise_repeats"]


def penalise_repeats(logits: Tensor, generated: Tensor, counts: Tensor, penalty: float) -> None:
    """The logit of each token that was generated is divided by `penalty`, or, where it is below 0,
    multiplied: once, however often it occurs.

    Args:
        logits: float32 [A, V].
        generated: int64 [A, M], of which the first `counts`, int64 [A], are real.
    """
    # What is not real stands for the first, which is there already; if that is not real either, no
    # value changes.
    real = _real(generated, counts)
    ids = torch.where(real, generated, generated[:, :1])
    before = logits.gather(1, ids)
    after = torch.where(before < 0, before * penalty, before / penalty)
    logits.scatter_(1, ids, torch.where(counts[:, None] > 0, after, before))


def forbid_ngrams(logits: Tensor, generated: Tensor, counts: Tensor, size: int) -> None:
    """-inf for each token that would make a run of `size` generated tokens occur twice.

    Args: as of `penalise_repeats`.
    """
    most, head = generated.shape[1], size - 1
    if most < size:
        return
    # [A, W]: whether the run from there on begins as the last `head` tokens do, and has an end.
    starts = most - head
    same = _real(generated, counts)[:, head:]
    for at in range(head):
        last = (counts - head + at).clamp(0, most - 1)
        same = same & (generated[:, at : at + starts] == generated.gather(1, last[:, None]))
    bans = torch.where(same, -torch.inf, torch.inf)
    logits.scatter_reduce_(1, generated[:, head:], bans.to(logits.dtype), "amin")


def forbid_stop(logits: Tensor, counts: Tensor, stop_ids: Tensor, least: int) -> None:
    """-inf for the stop tokens, int64 [T], of slots with fewer than `least` tokens.

    Args: as of `penalise_repeats`.
    """
    early = (counts < least)[:, None]
    logits[:, stop_ids] = logits[:, stop_ids].masked_fill(early, -torch.inf)


def _real(generated: Tensor, counts: Tensor) -> Tensor:
    """bool [A, M]."""
    return torch.arange(generated.shape[1], device=generated.device) < counts[:, None]
