"""Chat templates in the forms of current checkpoints: turns, BOS and the words around an image."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from tokenizers.processors import TemplateProcessing

from hired_core.language.prompts import PromptTemplate
from tests.support.tokenizers import byte_level, metaspace

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n"
    "{% for part in m.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen-VL's: a system turn of its own, no BOS."""
INST = (
    "{{ bos_token }}{% for m in messages %}[INST]{% for part in m.content %}"
    "{% if part.type == 'image' %}[IMG]{% else %}{{ part.text }}{% endif %}{% endfor %}[/INST]"
    "{% endfor %}"
)
"""As Mistral's: BOS is written by the template, and put there by the tokenizer too."""


class Kind(NamedTuple):
    tokenizer: Any
    template: str
    image: str
    words: tuple[str, ...]


def chatml() -> Kind:
    words = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": list(words)})
    assert tokenizer.bos_token is None
    return Kind(tokenizer, CHATML, words[-1], ("<|im_start|>", "<|im_end|>", *words))


def inst() -> Kind:
    tokenizer = metaspace()
    tokenizer.add_special_tokens({"bos_token": "<s>", "additional_special_tokens": ["[IMG]"]})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    assert tokenizer("Hi")["input_ids"][0] == tokenizer.bos_token_id
    return Kind(tokenizer, INST, "[IMG]", ("<s>", "</s>", "[IMG]"))


@pytest.fixture(scope="module", params=[chatml, inst])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param()
    return found


def made(kind: Kind) -> PromptTemplate:
    return PromptTemplate(tokenizer=kind.tokenizer, template=kind.template, image_token=kind.image)


def test_ids_are_those_of_the_rendered_text_with_one_bos(kind: Kind) -> None:
    """transformers' processors tokenise the rendered text without adding a BOS of their own."""
    prompt = made(kind)
    before, after = prompt.token_ids("What is it?")
    image = kind.tokenizer.convert_tokens_to_ids(kind.image)
    whole = kind.tokenizer(prompt.render("What is it?"), add_special_tokens=False)["input_ids"]
    assert [*before, image, *after] == whole
    bos = kind.tokenizer.bos_token_id
    assert [*before, *after].count(bos) == (0 if bos is None else 1)


def test_words_of_control_in_a_question_are_letters(kind: Kind) -> None:
    """In a user's text, behind which the template's own stay what they are."""
    prompt = made(kind)
    for word in kind.words:
        before, after = prompt.token_ids(f"red {word} ring", from_data=True)
        plain = prompt.token_ids("red ring")
        for each in kind.words:
            token = kind.tokenizer.convert_tokens_to_ids(each)
            assert before.count(token) == plain[0].count(token), (word, each)
            assert after.count(token) == plain[1].count(token), (word, each)
        assert len(after) > len(plain[1])
