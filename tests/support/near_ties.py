"""Two greedy texts of one request: the same, or apart where the model itself hardly decides.

Kernels round differently; where two tokens are all but level, either may win, and the texts go
their ways from there. Whether they were is asked of transformers' own forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from hired_core.language.model import Completion, LanguageModel, Request

NEAR: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first token at which two texts differ.

    Attributes:
        margin: by how much the first text's token leads, relative to the largest logit.
        is_best: whether that token is the model's choice, or as near to it.
    """

    request: int
    step: int
    margin: float
    is_best: bool

    @property
    def near(self) -> bool:
        return self.is_best and abs(self.margin) < NEAR


def differences(
    model: LanguageModel,
    requests: Sequence[Request],
    ours: Sequence[Completion],
    theirs: Sequence[Completion],
) -> list[Difference]:
    """Of every pair that is not the same, token for token."""
    pairs = enumerate(zip(requests, ours, theirs, strict=True))
    return [
        _difference(model, index, request, left.token_ids, right.token_ids)
        for index, (request, left, right) in pairs
        if left.token_ids != right.token_ids
    ]


@torch.inference_mode()
def _difference(
    model: LanguageModel, index: int, request: Request, left: list[int], right: list[int]
) -> Difference:
    """A text that has ended counts as the stop token that is likeliest there."""
    shortest = min(len(left), len(right))
    step = next((i for i in range(shortest) if left[i] != right[i]), shortest)
    words = model.decoder.get_input_embeddings()(torch.tensor(left[:step], dtype=torch.long))
    rows = torch.cat([model.embed(request), words])
    logits = model.decoder(inputs_embeds=rows[None]).logits[0, -1].double()
    stop = max(model.stop_ids, key=lambda token: float(logits[token]))
    chosen = [float(logits[ids[step] if step < len(ids) else stop]) for ids in (left, right)]
    scale, best = float(logits.abs().max()), float(logits.max())
    return Difference(
        request=index,
        step=step,
        margin=(chosen[0] - chosen[1]) / scale,
        is_best=(best - min(chosen)) / scale < NEAR,
    )
