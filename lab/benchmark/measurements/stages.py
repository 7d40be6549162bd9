"""Two stages on their own, each beside transformers' way of doing it, in alternating calls."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from hired_core.images.decode import decode_image
from hired_core.images.fast_partition import partition_pixels
from hired_core.images.partition import partition_image
from hired_core.vision.packed import make_encoder
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.vision_half import VisionHalf
from lab.benchmark.contestants.answers import now
from lab.benchmark.contestants.subject import Subject
from lab.benchmark.images import make_images
from lab.benchmark.measurements.summary import spread

Call = Callable[[], object]
_CPU = torch.device("cpu")


def alternate(calls: Mapping[str, Call], *, repeats: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds of each call, and its ratio to the last one within a repeat."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = now(device)
            call()
            times[name].append(1e3 * (now(device) - started))
    last = list(times.values())[-1]
    return {
        name: {
            "ms": spread(values),
            "ratio": spread([a / b for a, b in zip(values, last, strict=True)]),
            "ratio_of_best": min(values) / min(last),
        }
        for name, values in times.items()
    }


def partition_stage(subject: Subject, *, repeats: int) -> dict[str, Any]:
    """JPEG of 1344 x 1008 pixels to partitions, on one core."""
    data = make_images(1, width=1344, height=1008)[0]
    spec, theirs = subject.spec, _processor(subject)

    def ours() -> object:
        return partition_image(decode_image(data), spec.geometry)

    def fast() -> object:
        return partition_pixels(np.array(decode_image(data)), spec.geometry)

    def transformers() -> object:
        return theirs(Image.open(io.BytesIO(data)).convert("RGB"), return_tensors="pt")

    with _threads(1):
        calls: dict[str, Call] = {
            "transformers' processor": transformers,
            "ours, --resize fast": fast,
            "ours": ours,
        }
        return {"calls": alternate(calls, repeats=repeats, device=_CPU)}


def _processor(subject: Subject) -> Any:
    from transformers.models.llava_next.image_processing_pil_llava_next import (
        LlavaNextImageProcessorPil,
    )

    return LlavaNextImageProcessorPil.from_pretrained(subject.spec.path)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def vision_stage(
    subject: Subject, images: Sequence[bytes], *, budget: float, repeats: int
) -> dict[str, Any]:
    """Partitions to visual tokens: transformers' tower with all attention maps, and ours.

    Theirs starts from normalised pixels and selects nothing, ours from uint8 and ends with the kept
    features. `selection_share` is of CLS rows, scores and selection in the time of ours.
    """
    spec, encoder = subject.spec, _encoder(subject, budget)
    pictures = [decode_image(data) for data in images]
    cut = [partition_image(image, spec.geometry) for image in pictures]
    sizes = [(image.height, image.width) for image in pictures]
    tower, pixels = _eager_tower(subject), _normalised(subject, cut)

    def ours() -> object:
        return encoder(cut, sizes, [0] * len(cut))

    calls: dict[str, Call] = {
        "transformers' tower, eager": lambda: _their_features(tower, pixels, spec.feature_layer),
        "ours": ours,
    }
    found = alternate(calls, repeats=repeats, device=subject.device)
    share = _share(encoder, ours, repeats)
    return {"calls": found, "selection_share": share, "num_images": len(images)}


class ClockedEncoder(VisionHalf):
    """Clocks the steps beside the tower: layout, CLS rows, scores, allocation, selection.

    On a GPU the host does not wait for them, so that the clock is the host's.
    """

    spent = 0.0

    def _begin(self, *args: Any) -> Any:
        return self._clocked(super()._begin, args)

    def _look_first(self, *args: Any) -> Any:
        return self._clocked(super()._look_first, args)

    def _look(self, *args: Any) -> Any:
        return self._clocked(super()._look, args)

    def _decide(self, *args: Any) -> Any:
        return self._clocked(super()._decide, args)

    def _clocked(self, step: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        started = time.perf_counter()
        try:
            return step(*args)
        finally:
            self.spent += time.perf_counter() - started


def _share(encoder: ClockedEncoder, call: Call, repeats: int) -> dict[str, float]:
    """Of the clocked steps in the seconds of `call`, which runs `encoder`."""
    shares = []
    for _ in range(repeats):
        before, started = encoder.spent, time.perf_counter()
        call()
        shares.append((encoder.spent - before) / (time.perf_counter() - started))
    return spread(shares)


def _encoder(subject: Subject, budget: float) -> ClockedEncoder:
    settings = ReductionSettings(method="hired", budget=budget)
    return ClockedEncoder(make_encoder(subject.vision), subject.spec, settings)


def _eager_tower(subject: Subject) -> Any:
    tower = copy.deepcopy(subject.original.model.vision_tower)
    tower.set_attn_implementation("eager")
    return tower


def _normalised(subject: Subject, cut: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (subject.spec.mean, subject.spec.std))
    pixels = (torch.from_numpy(np.concatenate(cut)).float() / 255 - mean) / std
    return pixels.to(subject.device, subject.dtype)


@torch.inference_mode()
def _their_features(tower: Any, pixels: Tensor, feature_layer: int) -> tuple[Tensor, Any]:
    output = tower(pixels, output_hidden_states=True, output_attentions=True)
    assert output.attentions, "the tower computed no attention maps"
    return output.hidden_states[feature_layer + 1][:, 1:], output.attentions
