"""A family that reads LLaVA's own format beside transformers'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from transformers import AddedToken, LlamaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

from hired_core.geometry.spec import ModelSpec
from hired_core.language.prompts import PromptTemplate
from hired_core.models import wholeness
from hired_core.models.base import Family
from hired_core.models.checkpoint import iter_tensors, read_json
from hired_core.models.original.conversations import conversation
from hired_core.models.original.named_tower import (
    Tower,
    find_tower,
    tower_config,
    tower_image_processor,
    tower_name,
)
from hired_core.models.original.translation import (
    DECODERS,
    image_settings,
    is_original,
    joint_config,
    transformers_name,
)

IMAGE_TOKEN: Final = "<image>"
"""No word of the tokenizer, where LLaVA's own code splits a prompt."""


class OriginalFormat(Family):
    """What is read of a folder in LLaVA's own format is what its conversion would say."""

    def read_config(self, folder: Path) -> Any:
        content = _content(folder)
        if content is None:
            return super().read_config(folder)
        return joint_config(self.name, content, tower_config(find_tower(folder, content)))

    def image_processor(self, folder: Path) -> dict[str, Any]:
        content = _content(folder)
        if content is None:
            return super().image_processor(folder)
        return image_settings(content, tower_image_processor(find_tower(folder, content)))

    def read_tensors(
        self, folder: Path, wanted: Callable[[str], str | None]
    ) -> Iterator[tuple[str, Tensor]]:
        content = _content(folder)
        if content is None:
            return super().read_tensors(folder, wanted)

        def of_tower(name: str) -> str | None:
            theirs = tower_name(name)
            return None if theirs is None else wanted(theirs)

        tower = find_tower(folder, content)
        own = iter_tensors(folder, lambda name: wanted(transformers_name(name)))
        lent = () if tower.inside or tower.folder is None else (tower.folder,)
        return chain(own, *(iter_tensors(place, of_tower) for place in lent))

    def decoder_names(self, folder: Path) -> Callable[[str], str | None]:
        names = super().decoder_names(folder)
        if _content(folder) is None:
            return names
        return lambda name: names(transformers_name(name))

    def folders(self, folder: Path) -> tuple[Path, ...]:
        tower = _tower(folder)
        lent = () if tower is None or tower.folder is None else (tower.folder,)
        return (folder, *lent)

    def problems(self, folder: Path) -> list[str]:
        tower = _tower(folder)
        if tower is None:
            return super().problems(folder)
        lent = [] if tower.folder is None else wholeness.of_processor(tower.folder)
        if tower.folder is not None and not tower.inside:
            lent = [*wholeness.of_weights(tower.folder), *lent]
        own = [*wholeness.of_weights(folder), *wholeness.of_tokenizer(folder)]
        return [*own, *(f"its vision tower {tower.name}: {problem}" for problem in lent)]

    def tokenizer(self, spec: ModelSpec) -> Any:
        folder = Path(spec.path)
        content = _content(folder)
        if content is None:
            return super().tokenizer(spec)
        tokenizer = load_tokenizer(folder, DECODERS[content["model_type"]])
        image = AddedToken(IMAGE_TOKEN, special=True, normalized=False)
        tokenizer.add_tokens([image], special_tokens=True)
        return tokenizer

    def load_prompt_template(self, spec: ModelSpec) -> PromptTemplate:
        """Its own, of a checkpoint in LLaVA's format the published conversation. A
        `chat_template.jinja` in the folder goes before that; templates in other files are the
        decoder's, which knew no images."""
        folder = Path(spec.path)
        content, stored = _content(folder), folder / "chat_template.jinja"
        if content is None:
            return super().load_prompt_template(spec)
        tokenizer = self.tokenizer(spec)
        known = conversation(DECODERS[content["model_type"]], tokenizer.get_vocab())
        return PromptTemplate(
            tokenizer=tokenizer,
            template=stored.read_text(encoding="utf-8") if stored.is_file() else known,
            image_token=IMAGE_TOKEN,
            apart=True,
        )


def load_tokenizer(folder: Path, decoder: str) -> Any:
    """The decoder's. transformers' choice goes by `model_type`: of `llava` it makes a tokenizer of
    SentencePiece's files that puts no blank before a text, and others it does not know."""
    if (folder / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    kind = Qwen2Tokenizer if decoder == "qwen2" else LlamaTokenizer
    return kind.from_pretrained(folder)


def _content(folder: Path) -> dict[str, Any] | None:
    """config.json of LLaVA's own format; None of any other."""
    content = read_json(folder, "config.json")
    return content if is_original(content) else None


def _tower(folder: Path) -> Tower | None:
    content = _content(folder)
    return None if content is None else find_tower(folder, content)
