"""transformers as its users run it: its own processor and `generate`, nothing dropped."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, StoppingCriteriaList

from hired_core.backends.reference import FirstToken
from lab.benchmark.contestants.answers import Answer, now
from lab.benchmark.contestants.native import NATIVE, native_processor
from lab.benchmark.contestants.subject import Subject


class TransformersDense:
    """Greedy, left-padded batches of `batch_size`, default attention and cache."""

    def __init__(self, subject: Subject, *, batch_size: int) -> None:
        self._subject = subject
        self.slots = batch_size
        self._text = subject.template.render(subject.setting.prompt)
        self._processor: Any = None

    def open(self) -> None:
        spec = self._subject.spec
        load = native_processor if spec.family in NATIVE else AutoProcessor.from_pretrained
        self._processor = load(spec.path)
        self._processor.tokenizer.padding_side = "left"
        _ = self._subject.original

    def close(self) -> None:
        self._processor = None

    def __call__(self, images: Sequence[bytes]) -> list[Answer]:
        step = self.slots
        batches = [images[i : i + step] for i in range(0, len(images), step)]
        return [answer for batch in batches for answer in self._batch(batch)]

    @torch.inference_mode()
    def _batch(self, batch: Sequence[bytes]) -> list[Answer]:
        model, device = self._subject.original, self._subject.device
        started = now(device)
        inputs = self._inputs(batch)
        prepared = now(device)
        with _Watch(model, device) as watch:
            ids = model.generate(
                **inputs,
                max_new_tokens=self._subject.setting.max_new_tokens,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([watch.first_token]),
            )
        ended = now(device)
        first = watch.first_token.at or ended
        rows = ids[:, inputs["input_ids"].shape[1] :].tolist()
        share = 1 / len(batch)
        return [
            Answer(
                token_ids=self._cut(row),
                text=self._processor.decode(row, skip_special_tokens=True).strip(),
                ttft_sec=first - started,
                prepare_sec=share * (prepared - started),
                vision_sec=share * watch.vision_sec,
                prefill_sec=share * (first - prepared - watch.vision_sec),
                decode_sec=share * (ended - first),
            )
            for row in rows
        ]

    def _inputs(self, batch: Sequence[bytes]) -> Any:
        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in batch]
        inputs = self._processor(
            images=images, text=[self._text] * len(batch), padding=True, return_tensors="pt"
        )
        return inputs.to(self._subject.device, self._subject.dtype)

    def _cut(self, ids: list[int]) -> list[int]:
        stop = self._subject.original.generation_config.eos_token_id
        stops = set(stop if isinstance(stop, list) else [stop])
        end = next((at for at, token in enumerate(ids) if token in stops), len(ids))
        return ids[:end]


class _Watch:
    """Looks on as `generate` runs: when the first token is there, how long the tower takes."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.first_token = FirstToken(device)
        self.vision_sec = 0.0
        self._device = device
        self._tower = getattr(model.model, "vision_tower", None) or model.model.visual

    def __enter__(self) -> _Watch:
        before = self._tower.register_forward_pre_hook(lambda *_: self._add(-1))
        after = self._tower.register_forward_hook(lambda *_: self._add(1))
        self._hooks = (before, after)
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _add(self, sign: int) -> None:
        self.vision_sec += sign * now(self._device)
