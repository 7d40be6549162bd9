"""From images to requests, and what two ways of generating for them differ in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hired_core.images.decode import decode_image
from hired_core.images.partition import partition_image
from hired_core.language.model import LanguageModel, Request
from hired_core.vision.packed import make_encoder
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.vision_half import KeptTokens, VisionHalf
from lab.benchmark.contestants.subject import Subject


def kept_of(subject: Subject, images: Sequence[bytes], budget: float) -> list[KeptTokens]:
    """By `hired`, on the subject's device."""
    settings = ReductionSettings(budget=budget)
    half = VisionHalf(
        make_encoder(subject.vision), subject.spec, settings, subject.language.projector
    )
    pictures = [decode_image(data) for data in images]
    cut = [partition_image(picture, subject.spec.geometry) for picture in pictures]
    return half(cut, [(each.height, each.width) for each in pictures], [0] * len(cut))


def requests_of(subject: Subject, images: Sequence[bytes], budget: float) -> list[Request]:
    """One of each image, all with the subject's prompt."""
    builder = RequestBuilder(
        spec=subject.spec, template=subject.template, settings=ReductionSettings(budget=budget)
    )
    prompt = subject.setting.prompt
    kept = kept_of(subject, images, budget)
    return [builder.request(builder.visual(each), prompt) for each in kept]


@torch.inference_mode()
def logits_after(model: LanguageModel, request: Request, generated: Sequence[int] = ()) -> Tensor:
    """float32 [V], by transformers' own forward pass."""
    words = model.decoder.get_input_embeddings()
    behind = words(torch.tensor(list(generated), dtype=torch.long, device=model.device))
    embeds = torch.cat([model.embed(request), behind])[None]
    logits: Tensor = model.decoder(inputs_embeds=embeds).logits[0, -1].float()
    return logits


def difference(
    model: LanguageModel, request: Request, ours: Sequence[int], theirs: Sequence[int]
) -> dict[str, Any] | None:
    """Where two texts part, and how far apart the two tokens are there; None if nowhere.

    "gap" is the distance of the two logits, as transformers has them, over their standard
    deviation: near 0 it is rounding that decides, not an error.
    """
    if list(ours) == list(theirs):
        return None
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    logits = logits_after(model, request, theirs[:at])
    stop = min(model.stop_ids)
    ids = [text[at] if at < len(text) else stop for text in (ours, theirs)]
    gap = (logits[ids[0]] - logits[ids[1]]).abs() / logits.std()
    return {"at": at, "gap": float(gap)}
