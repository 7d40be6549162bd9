"""The language side: kept features and a prompt in, text out.

`LanguageModel` holds the weights and lays out inputs; a backend (`hired_core.backends`) generates.
Legend: K kept tokens, L sequence length, C ViT width, D LLM width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hired_core.geometry.spec import ModelSpec
from hired_core.language.form import Form
from hired_core.language.grammar import Grammar
from hired_core.language.stop_strings import StopStrings
from hired_core.transfer import upload

FinishReason = Literal["stop", "length", "timeout"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question about one image.

    Attributes:
        features: [K, C] kept features before the projector, or [K, D] behind it where `projected`,
            in sequence order.
        sequence: int64 [V]; indices into `features`, or `-1 - s` for separator s: -1 is `NEWLINE`
            (see `geometry.sequence`).
        before, after: ids of the prompt around the image.
        places: int64 [V + 1] on the CPU; rotary positions of the visual part and of the text after
            it, from the image's first (see `dense_positions`). [V + 1, 3] where they have three
            dimensions (see `grid_positions`). None: one after another.
        seed: of the sampler; greedy decoding ignores it.
    """

    features: Tensor
    sequence: Tensor
    before: list[int]
    after: list[int]
    places: Tensor | None = None
    seed: int = 0
    projected: bool = False

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens to prefill: text, visual tokens and newlines."""
        return len(self.before) + self.sequence.shape[0] + len(self.after)

    @property
    def shift(self) -> int:
        """How far the rotary positions of the text after the image are ahead of its tokens.

        Below 0 where rows and columns are counted and most tokens are there.
        """
        return 0 if self.places is None else int(self.places[-1].max()) - self.sequence.shape[0]

    @property
    def num_positions(self) -> int:
        """Above all rotary positions of the prompt."""
        return max(int(self.positions().max()) + 1, self.num_prompt_tokens + self.shift)

    def positions(self) -> Tensor:
        """int64 [L] or [L, 3], on the CPU: the rotary position of each token of the prompt."""
        if self.places is None:
            return torch.arange(self.num_prompt_tokens)
        image = len(self.before) + self.places
        before, after = (_counted(len(ids), image) for ids in (self.before, self.after))
        return torch.cat([before, image[:-1], image[-1] + after])


def _counted(length: int, like: Tensor) -> Tensor:
    """0, 1, 2, ..., in as many dimensions as the rows of `like`."""
    return torch.arange(length).view(-1, *[1] * (like.ndim - 1)).expand(-1, *like.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What was generated; `token_ids` end before the stop token. After "timeout" it is a torso.

    Attributes:
        prefill_sec, decode_sec: of the device; of work done for several requests at once, this
            one's equal share.
        ttft_sec: from the call to the first token.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    prefill_sec: float = field(default=0.0, compare=False)
    decode_sec: float = field(default=0.0, compare=False)
    ttft_sec: float = field(default=0.0, compare=False)


def _ids(ids: list[int]) -> Tensor:
    return torch.tensor(ids, dtype=torch.long)


def _rows_of_prompt(request: Request, num_visual: int, num_separators: int) -> Tensor:
    """int64 [L], on the CPU: where each row is in visual rows, separators and words, in a row.

    Raises:
        ValueError: if the sequence names a visual token or a separator that is not there.
    """
    at, words = request.sequence, num_visual + num_separators
    if len(at) and not (-num_separators <= int(at.min()) and int(at.max()) < num_visual):
        there = f"{num_visual} visual tokens and {num_separators} separators"
        raise ValueError(f"a sequence from {int(at.min())} to {int(at.max())} for {there}")
    image = torch.where(at < 0, num_visual - 1 - at, at)
    text = torch.arange(words, words + len(request.before) + len(request.after))
    before, after = text.split([len(request.before), len(request.after)])
    return torch.cat([before, image, after])


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """Projector, separators, decoder and tokenizer of one model, on one device.

    Attributes:
        separators: [S, D], embeddings that stand between visual tokens, such as the newline.
        stop_ids: ids that end a text.
    """

    spec: ModelSpec
    projector: nn.Module
    separators: Tensor
    decoder: Any
    tokenizer: Any
    stop_ids: frozenset[int]

    def stop_strings(self, strings: Sequence[str]) -> StopStrings | None:
        """None for no strings."""
        return StopStrings(self.tokenizer, strings) if strings else None

    def grammar(self, form: Form | None) -> Grammar | None:
        """None for no form.

        Raises:
            GrammarError: if the tokenizer is none that a grammar can be made for.
        """
        if form is None:
            return None
        num_logits = self.decoder.get_output_embeddings().weight.shape[0]
        return Grammar(self.tokenizer, form, stop_ids=self.stop_ids, num_logits=num_logits)

    @property
    def device(self) -> torch.device:
        return self.separators.device

    @property
    def dtype(self) -> torch.dtype:
        return self.separators.dtype

    @torch.inference_mode()
    def embed(self, request: Request, start: int = 0) -> Tensor:
        """[L - start, D]: text, projected visual tokens and separators, as the decoder reads them.

        [L - start, (1 + d) D] where the decoder's first d layers add something to visual tokens
        (`ModelSpec.num_taps`): beside each row what is added, zeros to all others.

        Nothing is projected if `start` lies behind the image.
        """
        words = self.decoder.get_input_embeddings()
        image_end = request.num_prompt_tokens - len(request.after)
        if start >= image_end:
            return self._plain(words(upload(_ids(request.after[start - image_end :]), self.device)))
        features = upload(request.features, self.device).to(self.dtype)
        visual = features if request.projected else self.projector(features)
        text = _ids([*request.before, *request.after])
        index = _rows_of_prompt(request, visual.shape[0], self.separators.shape[0])[start:]
        # All that the host knows in one copy, which it does not wait for.
        ids, index = upload(torch.cat([text, index]), self.device).split([len(text), len(index)])
        return torch.cat([visual, self._plain(self.separators), self._plain(words(ids))])[index]

    def _plain(self, rows: Tensor) -> Tensor:
        """Rows to which no layer adds anything."""
        taps = self.spec.num_taps
        return functional.pad(rows, (0, taps * self.spec.text_width)) if taps else rows

    def _uploaded(self, numbers: Tensor) -> Tensor:
        return upload(numbers, self.device)

    def complete(
        self,
        generated: list[int],
        *,
        cut_short: bool = False,
        stop_strings: StopStrings | None = None,
    ) -> Completion:
        """Cut at the first stop id or behind the first stop string, and decode.

        Args:
            cut_short: whether a text without a stop has run out of time rather than of tokens.
            stop_strings: they are among the tokens, and not in the text.
        """
        stop = next((i for i, t in enumerate(generated) if t in self.stop_ids), None)
        ids = generated if stop is None else generated[:stop]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        if stop_strings is not None and (end := stop_strings.end(ids)) is not None:
            ids, stop = ids[:end], end
            text = stop_strings.cut(self.tokenizer.decode(ids, skip_special_tokens=True))
        text = text.strip()
        unfinished: FinishReason = "timeout" if cut_short else "length"
        reason = unfinished if stop is None else "stop"
        return Completion(text=text, token_ids=ids, finish_reason=reason)
