"""`vllm` as a backend among others: what it refuses, what it plans, and how it is made.

Prompt embeddings carry rows and nothing else, so vLLM gives them positions one after another, has
no layers that add to some of them, and drops none between layers. Its penalties look at the prompt
too, which has no tokens here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from hired_core.backends.base import (
    Backend,
    BackendKind,
    Sizes,
    UnsupportedDecoderError,
    UnsupportedError,
    UnsupportedScheduleError,
)
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.vllm.plan import VllmPlan, plan_engine
from hired_core.language.decoder_folder import TEXT_MODELS
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel

_INSTEAD: Final = "--backend slots does"


class Vllm:
    """Runs the decoder in a process of its own."""

    runs_layers = False

    def check(self, sizes: Sizes, generation: GenerationSettings) -> None:
        """Raises `UnsupportedError`; what is asked for first, then whether vLLM is there at all."""
        _check_model(sizes)
        for setting in _other_meanings(generation):
            raise UnsupportedError(f"vllm does not generate with {setting}; {_INSTEAD}")
        if find_spec("vllm") is None:
            raise UnsupportedError(
                "vllm is not installed in this Python environment; see docs/backends.md"
            )

    def plan(self, sizes: Sizes, generation: GenerationSettings) -> VllmPlan:
        """Raises `MemoryLimitError` if there is no room for a single request."""
        return plan_engine(sizes)

    def make(
        self,
        model: LanguageModel,
        generation: GenerationSettings,
        plan: VllmPlan,
        *,
        queue: DeviceQueue,
        batch_size: int,
    ) -> Backend:
        """Starts the engine, which takes a while; batches play no part."""
        from hired_core.backends.vllm.vllm_backend import VllmBackend

        return VllmBackend(model, generation, plan, queue=queue)


def _check_model(sizes: Sizes) -> None:
    spec = sizes.spec
    if sizes.quantize is not None:
        raise UnsupportedError(
            "vllm quantises no weights itself; give it a checkpoint that is quantised, or leave "
            "--quantize out"
        )
    if sizes.schedule is not None:
        raise UnsupportedScheduleError(
            "vllm cannot drop tokens between layers, as methods inside the language model do; "
            f"{_INSTEAD}"
        )
    if spec.geometry.max_side is not None:
        raise UnsupportedError(
            f"vllm counts the positions of prompt embeddings one by one, and {spec.family} tells "
            f"row and column of each visual token; {_INSTEAD}"
        )
    if sizes.rotary_length is not None:
        raise UnsupportedError(
            "vllm counts the positions of prompt embeddings one by one, and the method keeps those "
            "of the unmodified model's input; add --positions compact, or choose --method hired"
        )
    if sizes.decoder not in TEXT_MODELS:
        there = ", ".join(TEXT_MODELS)
        raise UnsupportedDecoderError(
            f"vllm is given decoders of type {there}, not {sizes.decoder}; {_INSTEAD}"
        )


def _other_meanings(generation: GenerationSettings) -> Iterator[str]:
    """Settings of which vLLM has none, or one that means something else."""
    if generation.repetition_penalty != 1:
        yield "--repetition-penalty, which there looks at the prompt too"
    if generation.no_repeat_ngram_size:
        yield "--no-repeat-ngram-size"
    if generation.form is not None:
        yield "--schema or --choices, which this project's own engine holds texts to"


BACKEND: Final[BackendKind] = Vllm()
