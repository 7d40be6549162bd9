"""An unmodified Qwen-VL model with transformers' own image processor, tokens laid out by hand.

Its processor class wants a video processor, and that torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

MERGED = 4
"""Patches to a visual token."""


class NativeOriginal:
    """Counterpart of `tests.support.halves.Original`."""

    def __init__(self, folder: Path, **eager: str) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=torch.float32, **eager
        )
        self.model.eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.images = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self.image_id: int = self.model.config.image_token_id
        stop = self.model.generation_config.eos_token_id
        self.stop_ids = set(stop if isinstance(stop, list) else [stop])

    def inputs(self, images: Sequence[Image.Image], texts: Sequence[str]) -> dict[str, Tensor]:
        """Left-padded, as the processor would lay them out."""
        found = self.images(list(images), return_tensors="pt")
        rows = [
            self._ids(text, int(grid.prod()) // MERGED)
            for text, grid in zip(texts, found["image_grid_thw"], strict=True)
        ]
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        types = (ids == self.image_id).int()
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types, **found}

    def _ids(self, text: str, count: int) -> list[int]:
        ids: list[int] = self.tokenizer(text)["input_ids"]
        at = ids.index(self.image_id)
        return ids[:at] + [self.image_id] * count + ids[at + 1 :]

    @torch.inference_mode()
    def generate(
        self, images: Sequence[Image.Image], texts: Sequence[str], max_new_tokens: int
    ) -> tuple[list[list[int]], list[int]]:
        """(new token ids before the stop token, prompt lengths) of one left-padded batch."""
        inputs = self.inputs(images, texts)
        output = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._cut(row) for row in new], inputs["attention_mask"].sum(1).tolist()

    def _cut(self, ids: list[int]) -> list[int]:
        stop = next((at for at, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return ids[:stop]
