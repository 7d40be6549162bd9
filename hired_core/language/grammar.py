"""Which tokens may come next in a text of a given form: a bit for each, kept on the CPU.

The form is compiled once for a tokenizer; each text then has a cursor of its own, which costs
microseconds to make. Legend: V logits of a model, W words of 32 bits that hold a bit for each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hired_core.language.form import Form

__all__ = ["Cursor", "Grammar", "GrammarError", "check_tokenizer", "forbid", "has_choice"]


class GrammarError(ValueError):
    """The tokenizer is none that a grammar can be compiled for."""


class Grammar:
    """A form, compiled for a model's tokenizer.

    Any fast tokenizer of transformers will do, by bytes or with bytes to fall back on: text may be
    spelt by any tokens that together are its bytes. Special tokens spell nothing. Stop tokens may
    come exactly where the text may end, also those that would spell something.

    Args:
        tokenizer: transformers' own.
        stop_ids: ids that end a text.
        num_logits: V; it may be more or less than the tokenizer has words.

    Attributes:
        num_words: W.

    Raises:
        GrammarError: if the tokenizer is a slow one.
    """

    def __init__(
        self, tokenizer: Any, form: Form, *, stop_ids: Collection[int], num_logits: int
    ) -> None:
        from llguidance import LLExecutor, LLMatcher

        words = _vocabulary(tokenizer, stop_ids, num_logits)
        self.num_words = (words.vocab_size + 31) // 32
        self._stop_ids = frozenset(stop_ids)
        self._stop = _bits([i for i in stop_ids if i < 32 * self.num_words], self.num_words)
        self._matcher = LLMatcher(words, form.grammar, log_level=0)
        self._executor = LLExecutor(torch.get_num_threads())
        self._first = torch.empty(1, self.num_words, dtype=torch.int32)
        self.fill([self.cursor()], self._first, [0])

    @property
    def first(self) -> Tensor:
        """int32 [W]: what a text may begin with."""
        return self._first[0]

    def cursor(self) -> Cursor:
        """At the beginning of a text."""
        return Cursor(self._matcher.deep_copy(), self._stop_ids)

    def fill(self, cursors: Sequence[Cursor], masks: Tensor, rows: Sequence[int]) -> None:
        """Writes what may come next at each cursor into its row of int32 [n, W], on the CPU.

        Behind a text's end any token may come: nobody looks at it.
        """
        bits = masks.numpy()
        going = [(each, row) for each, row in zip(cursors, rows, strict=True) if not each.ended]
        if going:
            pairs = [(each.matcher, row) for each, row in going]
            size = bits.strides[0]
            self._executor.unsafe_compute_mask_ptr(pairs, masks.data_ptr(), size, len(bits))
        for each, row in going:
            self._allow_stop(bits[row], each)
        bits[[row for each, row in zip(cursors, rows, strict=True) if each.ended]] = -1

    def _allow_stop(self, row: Any, cursor: Cursor) -> None:
        """Where the text may end, and where nothing else is left: it is then broken off, and no
        text of the form."""
        row &= ~self._stop
        if cursor.may_end or not row.any():
            row |= self._stop


class Cursor:
    """How far a text has come.

    Attributes:
        taken: tokens that it has seen.
        ended: whether the last of them was a stop token.
    """

    def __init__(self, matcher: Any, stop_ids: frozenset[int]) -> None:
        self.matcher = matcher
        self.taken = 0
        self.ended = False
        self._stop_ids = stop_ids

    @property
    def may_end(self) -> bool:
        return bool(self.matcher.is_accepting())

    def take(self, token: int) -> None:
        """The token that was chosen."""
        self.taken += 1
        self.ended = self.ended or token in self._stop_ids
        if not self.ended:
            self.matcher.consume_token(token)


def check_tokenizer(tokenizer: Any) -> None:
    """Raises `GrammarError` unless it is one of those written in Rust, whose words can be told."""
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise GrammarError(f"--schema and --choices need a fast tokenizer, {kind} is a slow one")


def forbid(logits: Tensor, masks: Tensor) -> None:
    """-inf for each token whose bit is not set, in place.

    All shapes are fixed and nothing is copied to the host: a CUDA graph can hold it.

    Args:
        logits: float [A, V].
        masks: int32 [A, W], on the same device.
    """
    octets = masks.view(torch.uint8)[:, : (logits.shape[1] + 7) // 8]
    places = torch.arange(8, dtype=torch.uint8, device=logits.device)
    bits = (octets[:, :, None] >> places) & 1
    logits.masked_fill_(bits.flatten(1)[:, : logits.shape[1]] == 0, -torch.inf)


def has_choice(logits: Tensor) -> Tensor:
    """bool [A, 1]: whether any token of a row, float [A, V], is possible."""
    return (logits > -torch.inf).any(-1, keepdim=True)


def _bits(ids: Sequence[int], num_words: int) -> Any:
    flags = np.zeros(32 * num_words, dtype=np.uint8)
    flags[list(ids)] = 1
    return np.packbits(flags, bitorder="little").view(np.int32)


def _vocabulary(tokenizer: Any, stop_ids: Collection[int], num_logits: int) -> Any:
    from llguidance import LLTokenizer
    from llguidance.hf import from_tokenizer

    check_tokenizer(tokenizer)
    known = sorted(i for i in stop_ids if i < len(tokenizer))
    try:
        return from_tokenizer(
            tokenizer,
            n_vocab=max(num_logits, len(tokenizer)),
            eos_token=known or None,
            slices=LLTokenizer.json_slices(),
        )
    except ValueError as exc:
        raise GrammarError(f"no grammar can be kept to with this tokenizer: {exc}") from exc
