"""What steps work on: models on the device, images, and sizes for a real run or a rehearsal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import torch

from lab.benchmark.contestants.subject import Setting, Subject, prepared
from lab.benchmark.images import make_images


class Skipped(Exception):  # No error: what it says is in the report.
    """A step that has nothing to say here, and why."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is run.

    Attributes:
        small: a model of which everything is compared, in float32.
        large: one whose speed and memory count, in `dtype`.
        num_images: for a contestant of this engine; one of transformers gets a few batches.
        budgets: token budgets of this engine.
        batch_sizes: of transformers.
    """

    small: str = "embedded"
    large: str = "mistral-7b"
    dtype: str = "bfloat16"
    num_images: int = 64
    side: int = 672
    max_new_tokens: int = 64
    max_slots: int = 64
    budgets: tuple[float, ...] = (1.0, 0.4, 0.2, 0.1)
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    repeats: int = 2


REHEARSAL: Final = Sizes(
    large="embedded",
    dtype="float32",
    num_images=4,
    side=224,
    max_new_tokens=4,
    max_slots=2,
    budgets=(1.0, 0.2),
    batch_sizes=(2,),
    repeats=1,
)


@dataclass
class Bench:
    """Made once; models are loaded when they are first asked for.

    Attributes:
        found: what steps have returned so far, by name, for those that go on from it.
    """

    device: torch.device
    sizes: Sizes
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    _files: ExitStack = field(default_factory=ExitStack)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def require_gpu(self, why: str) -> None:
        """Raises `Skipped` without one."""
        if not self.on_gpu:
            raise Skipped(f"needs a GPU: {why}")

    @cached_property
    def small(self) -> Subject:
        return self._subject(self.sizes.small, "float32", self.device)

    @cached_property
    def small_on_cpu(self) -> Subject:
        return self._subject(self.sizes.small, "float32", torch.device("cpu"))

    @cached_property
    def large(self) -> Subject:
        return self._subject(self.sizes.large, self.sizes.dtype, self.device)

    @cached_property
    def images(self) -> list[bytes]:
        side = self.sizes.side
        return make_images(self.sizes.num_images, width=side, height=side)

    def _subject(self, model: str, dtype: str, device: torch.device) -> Subject:
        setting = Setting(
            model=model,
            device=str(device),
            dtype=dtype,
            max_new_tokens=self.sizes.max_new_tokens,
        )
        return Subject(self._files.enter_context(prepared(setting)))

    def close(self) -> None:
        self._files.close()


@contextmanager
def exact_float32() -> Iterator[None]:
    """On a GPU, products and convolutions of float32 in float32 and not in TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
