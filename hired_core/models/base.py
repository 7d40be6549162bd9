"""What a family says of a checkpoint, and what most families have in common.

A family is one file with one subclass of `Family`: how an image is cut (`Geometry`), the tower and
which attention it can show (`TowerKind`), the projector, what separates rows, the decoder. The two
halves load apart, so that an actor holds only the weights it runs. Reads both the names that
transformers 4 stored (`language_model.model.*`) and those of transformers 5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hired_core.choices import WeightFormat
from hired_core.errors import SettingError
from hired_core.geometry.base import Geometry
from hired_core.geometry.spec import ModelSpec
from hired_core.language.decoder_folder import DecoderFolder
from hired_core.language.model import LanguageModel
from hired_core.language.prompts import PromptTemplate
from hired_core.models import text, wholeness
from hired_core.models.checkpoint import (
    CheckpointError,
    decoder_name,
    fill,
    image_processor,
    iter_tensors,
    part,
)
from hired_core.models.text_folder import export_decoder
from hired_core.models.towers.clip import CLIP
from hired_core.models.towers.kind import TowerKind
from hired_core.models.weights import Weights, count
from hired_core.vision.packed import Tower


class Family(ABC):
    """One `model_type`; stateless.

    Attributes:
        name: the `model_type` of config.json.
        tower: the kind of vision tower.
        feature_strategy: the `vision_feature_select_strategy` that the code does; None: there is no
            such setting.
        vision_part, projector_part, decoder_part: what transformers calls these, in weights' names
            and as attributes of its model.
    """

    name: str
    tower: TowerKind = CLIP
    feature_strategy: str | None = "default"
    vision_part = "vision_tower"
    projector_part = "multi_modal_projector"
    decoder_part = "language_model"

    @abstractmethod
    def geometry(self, folder: Path, config: Any) -> Geometry:
        """How this checkpoint's images are cut.

        Raises:
            CheckpointError: if its image processor does otherwise than the family's geometry.
        """

    @abstractmethod
    def make_projector(self, config: Any) -> nn.Module:
        """From the tower's features [K, C] to visual tokens [K, D]; without weights yet."""

    def num_separators(self, spec: ModelSpec) -> int:
        """S, embeddings that may stand between visual tokens, such as row ends."""
        return 0

    def separators(self, spec: ModelSpec, decoder: Any, tokenizer: Any) -> Tensor:
        """[S, D], the embeddings that stand between visual tokens.

        Args:
            decoder: the language model, for separators that are words of its own.
        """
        return torch.empty(0, spec.text_width)

    def live_separators(self, model: Any, spec: ModelSpec, decoder: Any, tokenizer: Any) -> Tensor:
        """The same of a model in memory."""
        return self.separators(spec, decoder, tokenizer)

    def feature_layer(self, config: Any) -> int:
        """Index of the layer whose output is `hidden_states[vision_feature_layer]`.

        Raises:
            CheckpointError: if there are several, or it is none of the tower's.
        """
        chosen, depth = config.vision_feature_layer, config.vision_config.num_hidden_layers
        if not isinstance(chosen, int):
            raise CheckpointError("several vision feature layers are not supported")
        index = depth + chosen if chosen < 0 else chosen - 1
        if not 0 <= index < depth:
            raise CheckpointError(f"vision_feature_layer {chosen} is outside the {depth} layers")
        return index

    def check(self, config: Any) -> None:
        """Raises `CheckpointError` for what the family's code does not do."""
        kind = config.vision_config.model_type
        if kind not in self.tower.kinds:
            only = f"only {' and '.join(self.tower.kinds)} is supported"
            raise CheckpointError(f"the vision tower is {kind}; {only}")
        wanted = self.feature_strategy
        if wanted is not None and config.vision_feature_select_strategy != wanted:
            raise CheckpointError(f"only vision_feature_select_strategy {wanted!r} is supported")

    def config(self, folder: Path) -> Any:
        """transformers' configuration, checked."""
        config = self.read_config(folder)
        self.check(config)
        # The outer setting decides in transformers' models, whatever the inner one says.
        config.text_config.tie_word_embeddings = config.tie_word_embeddings
        return config

    def read_config(self, folder: Path) -> Any:
        """transformers' configuration."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(folder, trust_remote_code=False)

    def image_processor(self, folder: Path) -> dict[str, Any]:
        """What the checkpoint's files say of its image processor; {} if they say nothing."""
        return image_processor(folder)

    def read_tensors(
        self, folder: Path, wanted: Callable[[str], str | None]
    ) -> Iterator[tuple[str, Tensor]]:
        """As `iter_tensors`: what `wanted` renames are transformers' names."""
        return iter_tensors(folder, wanted)

    def tokenizer(self, spec: ModelSpec) -> Any:
        """transformers' tokenizer."""
        return text.load_tokenizer(spec)

    def folders(self, folder: Path) -> tuple[Path, ...]:
        """All that weights are read from."""
        return (folder,)

    def problems(self, folder: Path) -> list[str]:
        """What the checkpoint lacks, each in a few words; opens no weights."""
        return wholeness.problems(folder)

    def with_options(self, geometry: Geometry, options: Mapping[str, Any]) -> Geometry:
        """The geometry under the user's image options, of which most families have none.

        Raises:
            SettingError: for an option that the family does not have.
        """
        if options:
            raise SettingError(
                f"image_options: {', '.join(options)}; {self.name} has none, its images are cut as "
                "the checkpoint says"
            )
        return geometry

    def spec(self, folder: Path, name: str, options: Mapping[str, Any] | None = None) -> ModelSpec:
        """Geometry and limits; reads configuration files only.

        Args:
            options: see `with_options`.

        Raises:
            SettingError: as `with_options`.
            CheckpointError: if the family's code does not support it; the message says what
                differs.
        """
        config = self.config(folder)
        mean, std = self.tower.normalisation(self.image_processor(folder))
        feature_layer = self.feature_layer(config)
        return ModelSpec(
            name=name,
            path=str(folder),
            family=self.name,
            geometry=self.with_options(self.geometry(folder, config), options or {}),
            has_cls=self.tower.has_cls,
            feature_layer=feature_layer,
            vision_width=config.vision_config.hidden_size,
            vision_inner=config.vision_config.intermediate_size,
            vision_params=self.tower.params(config.vision_config, feature_layer + 1),
            mean=mean,
            std=std,
            stored_dtype=str(config.dtype or torch.float16).removeprefix("torch."),
            **text.spec_fields(config.text_config, projector_params=self._projector_count(config)),
        )

    def weights(self, spec: ModelSpec) -> tuple[Weights, Weights]:
        """Numbers that `load_vision` and `load_language` hold; reads no weights."""
        config = self.config(Path(spec.path))
        others = self.num_separators(spec) * spec.text_width + self._projector_count(config)
        language = Weights.of(text.empty_decoder(config)).plus(others)
        return self.tower.weights(config.vision_config, spec.feature_layer + 1), language

    def projector_count(self, spec: ModelSpec) -> int:
        """Numbers that `load_projector` holds."""
        return self._projector_count(self.config(Path(spec.path)))

    def load_vision(
        self,
        spec: ModelSpec,
        *,
        device: torch.device,
        dtype: torch.dtype,
        quantized: WeightFormat | None = None,
    ) -> Tower:
        """The tower up to the feature layer; later layers are neither read nor kept.

        Args:
            quantized: see `hired_core.models.weights`.
        """
        folder = Path(spec.path)
        vision = self.config(folder).vision_config
        tensors = self.read_tensors(folder, part(self.vision_part, "vision_model"))
        how: dict[str, Any] = {"device": device, "dtype": dtype, "quantized": quantized}
        return self.tower.load(spec, vision, tensors, **how)

    def load_projector(
        self, spec: ModelSpec, *, device: torch.device, dtype: torch.dtype
    ) -> nn.Module:
        """From features to visual tokens."""
        folder = Path(spec.path)
        config = self.config(folder)
        with text.no_init(device):
            projector = self.make_projector(config).to(dtype)
        names = part(*self.projector_part.split("."))
        fill(projector, self.read_tensors(folder, names), tied=set())
        return projector.eval()

    def load_language(
        self,
        spec: ModelSpec,
        *,
        device: torch.device,
        dtype: torch.dtype,
        tokenizer: Any = None,
        quantized: WeightFormat | None = None,
        layers: bool = True,
    ) -> LanguageModel:
        """Projector, separators, decoder and tokenizer; nothing of the vision tower.

        Args:
            tokenizer: the checkpoint's, if it is there already.
            quantized: of the decoder, see `hired_core.models.weights`.
            layers: whether the decoder's layers are to be run here; otherwise it is a
                `DecoderFolder`, exported if need be.

        Raises:
            CheckpointError: if the weights do not fit, or are not to be exported.
        """
        folder, where = Path(spec.path), {"device": device, "dtype": dtype}
        config, tokenizer = self.config(folder), tokenizer or self.tokenizer(spec)
        if layers:
            decoder = self.load_decoder(folder, config, quantized=quantized, **where)
        else:
            decoder = self.decoder_folder(folder, config, **where)
        return LanguageModel(
            spec=spec,
            projector=self.load_projector(spec, device=device, dtype=dtype),
            separators=self.separators(spec, decoder, tokenizer).to(device, dtype),
            decoder=decoder,
            tokenizer=tokenizer,
            stop_ids=text.stop_ids(folder, config),
        )

    def load_decoder(self, folder: Path, config: Any, **where: Any) -> nn.Module:
        """The causal language model; `where` is `device`, `dtype` and `quantized`."""
        names = partial(decoder_name, self.decoder_part)
        return text.load_decoder(config, self.read_tensors(folder, names), **where)

    def decoder_folder(self, folder: Path, config: Any, **where: Any) -> DecoderFolder:
        """What stands for the language model where another process runs its layers."""
        path = export_decoder(folder, config, self.decoder_names(folder))
        table = partial(text.table_name, self.decoder_part)
        words = text.load_words(config, self.read_tensors(folder, table), **where)
        return DecoderFolder(path, words)

    def decoder_names(self, folder: Path) -> Callable[[str], str | None]:
        """From names in the checkpoint's files to those of its decoder alone."""
        return partial(decoder_name, self.decoder_part)

    def load_prompt_template(self, spec: ModelSpec) -> PromptTemplate:
        """The checkpoint's chat template, from whichever of its files carries it."""
        folder = Path(spec.path)
        image_token_id = self.config(folder).image_token_id
        return text.load_prompt_template(folder, self.tokenizer(spec), image_token_id)

    def vision_of(self, model: Any, spec: ModelSpec) -> Tower:
        """The tower of a model in memory, up to the feature layer; no weight is copied."""
        return self.tower.live(getattr(model.model, self.vision_part), spec)

    def language_of(self, model: Any, spec: ModelSpec) -> LanguageModel:
        """Projector, separators and decoder of a model in memory; no weight is copied.

        Args:
            spec: of a folder that holds at least the tokenizer.
        """
        stop, tokenizer = model.generation_config.eos_token_id, self.tokenizer(spec)
        decoder = text.live_decoder(model, self.decoder_part)
        return LanguageModel(
            spec=spec,
            projector=attrgetter(self.projector_part)(model.model),
            separators=self.live_separators(model, spec, decoder, tokenizer),
            decoder=decoder,
            tokenizer=tokenizer,
            stop_ids=frozenset(stop if isinstance(stop, list) else [stop]),
        )

    def _projector_count(self, config: Any) -> int:
        return count(self._empty_projector(config))

    def _empty_projector(self, config: Any) -> nn.Module:
        with torch.device("meta"):
            return self.make_projector(config)
