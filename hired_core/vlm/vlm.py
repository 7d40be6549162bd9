"""One vision-language model, ready to caption, to answer, and to show what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch

from hired_core.backends.base import GIB
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.registry import backend_kind, make_backend
from hired_core.choices import DEFAULT_METHOD, BackendName, Quantization, WeightFormat
from hired_core.geometry.spec import ModelSpec
from hired_core.images.source import CutImage, ImageLike, cut_image
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion
from hired_core.models.registry import family_of, load_whole_spec
from hired_core.models.weights import check_quantization
from hired_core.vlm.device import MAX_PROMPT_TOKENS, compute_dtype, device_bytes, max_slots
from hired_core.vlm.fitting import require_fit
from hired_core.vlm.language_half import LanguageHalf, RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.sizing import plan_backend, request_sizes
from hired_core.vlm.vision_half import KeptTokens, VisionHalf

IMAGES_AT_ONCE = 8
"""In a call of the vision half."""

DEFAULT_PROMPT = "Describe the image."

Images = list[ImageLike] | tuple[ImageLike, ...]


@dataclass(frozen=True, kw_only=True)
class Vlm:
    """Both halves of one model on one device; `hired_core.load` makes one.

    Images are paths, encoded bytes, PIL images or arrays (uint8 [height, width, 3], RGB), alone or
    in a sequence of any mix; what is said of one does not depend on the others.

    Attributes:
        vision: images -> kept tokens.
        language: kept tokens and prompts -> text.
    """

    spec: ModelSpec
    vision: VisionHalf
    language: LanguageHalf

    @classmethod
    def load(
        cls,
        model: str | Path = "embedded",
        *,
        token_budget: float | None = None,
        method: str = DEFAULT_METHOD,
        method_options: dict[str, Any] | None = None,
        max_new_tokens: int = 64,
        settings: ReductionSettings | None = None,
        generation: GenerationSettings | None = None,
        device: str | torch.device | None = None,
        dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
        revision: str | None = None,
        backend: BackendName = "slots",
        memory_limit_gib: float | None = None,
        slots: int | None = None,
        image_options: dict[str, Any] | None = None,
        quantize: WeightFormat | None = None,
        quantize_vision: WeightFormat | None = None,
    ) -> Vlm:
        """A model with its weights, ready.

        Args:
            model: "embedded", a folder or a Hugging Face id.
            token_budget: below 1 a fraction of the model's largest count, 1 the unmodified model,
                above 1 a count; by default 0.2.
            settings: all there is to say of visual tokens, instead of the three before it.
            generation: all there is to say of generating, instead of `max_new_tokens`.
            device: by default a GPU if there is one.
            memory_limit_gib: of weights, cache and workspace; by default 0.9 of a GPU's memory or
                half of the machine's.
            slots: the most requests at once.
            image_options: how images are cut, where the family leaves a choice, e.g. `max_pixels`.
            quantize, quantize_vision: weights of the decoder's layers, and of the tower's, in
                eight bits: "int8" or "fp8"; needs torchao.

        Raises:
            CheckpointError: if there is no such model, or none that is supported.
            SettingError: for a setting that cannot be.
            UnsupportedError: if the backend cannot do what the settings ask.
            EngineLostError: if its engine does not start.
            MemoryLimitError: if the limit leaves no room for a single request.
        """
        settings = settings or ReductionSettings(
            budget=token_budget, method=method, method_options=method_options or {}
        )
        generation = generation or GenerationSettings(max_new_tokens=max_new_tokens)
        spec, where = load_whole_spec(str(model), revision, image_options), _device(device)
        require_fit(spec, settings)
        quantization = Quantization(decoder=quantize, vision=quantize_vision)
        check_quantization(quantization)
        number = compute_dtype(dtype, spec.stored_dtype, where)
        on_gpu = where.type == "cuda"
        limit = device_bytes(where) if memory_limit_gib is None else int(memory_limit_gib * GIB)
        sizes = request_sizes(
            spec,
            settings,
            text_positions=MAX_PROMPT_TOKENS,
            max_new_tokens=generation.max_new_tokens,
            dtype=number,
            limit_bytes=limit,
            max_slots=slots or max_slots(on_gpu=on_gpu),
            on_gpu=on_gpu,
            images=IMAGES_AT_ONCE,
            quantization=quantization,
        )
        family, plan = family_of(spec), plan_backend(backend, sizes, generation)
        layers = backend_kind(backend).runs_layers
        language = family.load_language(
            spec, device=where, dtype=number, quantized=quantize, layers=layers
        )
        engine = make_backend(backend, language, generation, plan=plan, queue=DeviceQueue())
        template = family.load_prompt_template(spec)
        builder = RequestBuilder(spec=spec, template=template, settings=settings)
        return cls(
            spec=spec,
            vision=VisionHalf.load(
                spec, settings, device=where, dtype=number, quantized=quantize_vision
            ),
            language=LanguageHalf(builder, engine),
        )

    @overload
    def caption(self, images: ImageLike, prompt: str = ...) -> Completion: ...
    @overload
    def caption(self, images: Images, prompt: str = ...) -> list[Completion]: ...

    def caption(
        self, images: ImageLike | Images, prompt: str = DEFAULT_PROMPT
    ) -> Completion | list[Completion]:
        """What the model says to `prompt` of an image, or of each of a sequence.

        Raises:
            ImageError, LayoutError, OSError, TypeError: as `cut_image`.
            PromptError, ValueError: if the prompt cannot be used, or is too long.
        """
        kept = self.reduce(images)
        if isinstance(kept, KeptTokens):
            return self.language.ask(kept, [prompt])[0]
        return self.language.ask_each(kept, [prompt] * len(kept))

    @overload
    def ask(self, image: ImageLike, prompts: str) -> Completion: ...
    @overload
    def ask(self, image: ImageLike, prompts: list[str] | tuple[str, ...]) -> list[Completion]: ...

    def ask(
        self, image: ImageLike, prompts: str | list[str] | tuple[str, ...]
    ) -> Completion | list[Completion]:
        """Answers about one image, which is encoded, and read by the language model, once.

        Raises:
            As `caption`.
        """
        (kept,) = self._reduce([image])
        if isinstance(prompts, str):
            return self.language.ask(kept, [prompts])[0]
        return self.language.ask(kept, prompts)

    @overload
    def reduce(self, images: ImageLike) -> KeptTokens: ...
    @overload
    def reduce(self, images: Images) -> list[KeptTokens]: ...

    def reduce(self, images: ImageLike | Images) -> KeptTokens | list[KeptTokens]:
        """The visual tokens that the language model would be given, with places and budgets.

        Raises:
            ImageError, LayoutError, OSError, TypeError: as `cut_image`.
        """
        if isinstance(images, list | tuple):
            return self._reduce(images)
        (kept,) = self._reduce([images])
        return kept

    def _reduce(self, images: Sequence[ImageLike]) -> list[KeptTokens]:
        cut = [cut_image(image, self.spec.geometry) for image in images]
        parts = [cut[at : at + IMAGES_AT_ONCE] for at in range(0, len(cut), IMAGES_AT_ONCE)]
        return [kept for part in parts for kept in self.reduce_cut(part)]

    def reduce_cut(self, images: Sequence[CutImage]) -> list[KeptTokens]:
        """Of images that are cut already."""
        return self.vision(
            [image.partitions for image in images],
            [image.size for image in images],
            [image.seed for image in images],
        )


def _device(asked: str | torch.device | None) -> torch.device:
    if asked is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(asked)
