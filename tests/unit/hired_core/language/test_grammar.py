"""Texts held to a form, a random token after another: all that is allowed ends in a valid text."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from jsonschema.validators import Draft202012Validator
from torch import Tensor
from transformers import AutoTokenizer, BertJapaneseTokenizer

from hired_core.language.form import Form
from hired_core.language.grammar import Cursor, Grammar, GrammarError, forbid, has_choice
from tests.support.checkpoints import EMBEDDED
from tests.support.tokenizers import KINDS

SCHEMAS: dict[str, dict[str, Any]] = {
    "text": {
        "type": "object",
        "properties": {"caption": {"type": "string", "maxLength": 12}},
        "required": ["caption"],
    },
    "list": {
        "type": "object",
        "properties": {
            "objects": {"type": "array", "items": {"enum": ["ring", "löwe"]}, "maxItems": 3},
            "count": {"type": "integer"},
        },
        "required": ["objects", "count"],
    },
    "nested": {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", None]},
            "has_text": {"type": "boolean"},
            "place": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "name": {"type": ["string", "null"],
                                                                  "maxLength": 4}},
            },
        },
        "required": ["colour", "has_text", "place"],
    },
}  # fmt: skip
TOKENIZERS = {**KINDS, "embedded": lambda: AutoTokenizer.from_pretrained(EMBEDDED)}
MOST = 120


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def grammar_of(tokenizer: Any, form: Form, *stop: int, more: int = 37) -> Grammar:
    """For a model with somewhat more logits than the tokenizer has words."""
    stop_ids = stop or (tokenizer.eos_token_id,)
    return Grammar(tokenizer, form, stop_ids=stop_ids, num_logits=len(tokenizer) + more)


def allowed(grammar: Grammar, cursor: Cursor, width: int) -> list[int]:
    masks = torch.empty(1, grammar.num_words, dtype=torch.int32)
    grammar.fill([cursor], masks, [0])
    logits = torch.zeros(1, width)
    forbid(logits, masks)
    return [int(i) for i in (logits[0] == 0).nonzero()]


def walk(tokenizer: Any, grammar: Grammar, seed: int) -> list[int]:
    """Tokens drawn from those allowed, up to the stop token."""
    draw, cursor, ids = torch.Generator().manual_seed(seed), grammar.cursor(), list[int]()
    while len(ids) < MOST:
        choice = allowed(grammar, cursor, len(tokenizer) + 37)
        ids.append(choice[int(torch.randint(len(choice), (), generator=draw))])
        cursor.take(ids[-1])
        if cursor.ended:
            return ids[:-1]
    raise AssertionError(f"no end: {tokenizer.decode(ids)}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_any_walk_ends_in_json_of_the_schema(tokenizer: Any, name: str) -> None:
    form = Form(SCHEMAS[name])
    grammar = grammar_of(tokenizer, form)
    texts = [tokenizer.decode(walk(tokenizer, grammar, i), skip_special_tokens=True).strip()
             for i in range(12)]  # fmt: skip
    for text in texts:
        Draft202012Validator(SCHEMAS[name]).validate(json.loads(text))
        assert form.fault(text) is None
        assert json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False) == text or (
            "\\" in text or "." in text or "-0" in text
        )
    assert len(set(texts)) > 6


def test_any_walk_ends_in_one_of_the_choices(tokenizer: Any) -> None:
    choices = ["red", "red ring", "größe 7", '"quoted" \\ text', "ред"]
    grammar = grammar_of(tokenizer, Form(None, choices))
    texts = {
        tokenizer.decode(walk(tokenizer, grammar, i), skip_special_tokens=True).strip()
        for i in range(40)
    }
    assert texts == set(choices)


def test_the_usual_spelling_is_allowed(tokenizer: Any) -> None:
    text = '{"caption":"a red \\"ring\\" é"}'
    grammar = grammar_of(tokenizer, Form({"type": "object", "additionalProperties": True}))
    cursor = grammar.cursor()
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        assert token in allowed(grammar, cursor, len(tokenizer))
        cursor.take(token)
    assert cursor.may_end and allowed(grammar, cursor, len(tokenizer)) == [tokenizer.eos_token_id]


def test_no_blank_may_stand_between_things(tokenizer: Any) -> None:
    grammar = grammar_of(tokenizer, Form(SCHEMAS["list"]))
    cursor = grammar.cursor()
    for token in tokenizer('{"objects":', add_special_tokens=False)["input_ids"]:
        cursor.take(token)
    spelt = {tokenizer.decode([i]) for i in allowed(grammar, cursor, len(tokenizer))}
    assert spelt and all(text.startswith("[") for text in spelt)


def test_stop_tokens_come_where_the_text_may_end_even_if_they_spell_something() -> None:
    tokenizer = TOKENIZERS["embedded"]()
    (letter,) = tokenizer("b", add_special_tokens=False)["input_ids"]
    beyond = len(tokenizer) + 5  # An output layer may be wider than the tokenizer.
    grammar = grammar_of(tokenizer, Form(None, ["a", "ab", "ba"]), letter, 2, beyond)
    width, cursor = len(tokenizer) + 37, grammar.cursor()
    assert not {letter, 2, beyond} & set(allowed(grammar, cursor, width))
    cursor.take(tokenizer("a", add_special_tokens=False)["input_ids"][0])
    assert allowed(grammar, cursor, width) == sorted({letter, 2, beyond})
    cursor.take(letter)
    assert cursor.ended and len(allowed(grammar, cursor, width)) == width


def test_an_output_layer_may_be_narrower_than_the_tokenizer() -> None:
    tokenizer = TOKENIZERS["embedded"]()
    form = Form(None, ["USER:", "a"])  # A word beyond the layer's 400, and letters.
    grammar = Grammar(tokenizer, form, stop_ids=[2], num_logits=400)
    spelt = {tokenizer.decode([i]) for i in allowed(grammar, grammar.cursor(), 400)}
    assert spelt == {"U", "a", " ", " a"} & spelt and {"U", "a"} <= spelt


def test_a_text_that_no_token_can_go_on_with_is_broken_off() -> None:
    tokenizer = TOKENIZERS["embedded"]()
    grammar = grammar_of(tokenizer, Form(None, ["ab"]))
    cursor = grammar.cursor()
    cursor.take(tokenizer("x", add_special_tokens=False)["input_ids"][0])
    assert allowed(grammar, cursor, len(tokenizer)) == [2] and not cursor.may_end


def test_cursors_do_not_share_their_way() -> None:
    tokenizer = TOKENIZERS["embedded"]()
    grammar = grammar_of(tokenizer, Form(None, ["ab", "cd"]))
    first, second = grammar.cursor(), grammar.cursor()
    before = allowed(grammar, second, len(tokenizer))
    first.take(tokenizer("a", add_special_tokens=False)["input_ids"][0])
    assert allowed(grammar, second, len(tokenizer)) == before
    masks = torch.zeros(4, grammar.num_words, dtype=torch.int32)
    grammar.fill([first, second], masks, [3, 1])
    assert torch.equal(masks[1], grammar.first) and not torch.equal(masks[3], grammar.first)
    assert not masks[0].any() and not masks[2].any()


@pytest.mark.parametrize("width", [32, 45, 64, 65])
def test_bits_are_laid_upon_logits(width: int) -> None:
    words: Tensor = torch.randint(-(2**31), 2**31, (3, 3), dtype=torch.int64).to(torch.int32)
    logits = torch.randn(3, width)
    expected = logits.clone()
    for row in range(3):
        for token in range(width):
            if not int(words[row, token // 32]) >> token % 32 & 1:
                expected[row, token] = -torch.inf
    forbid(logits, words)
    assert torch.equal(logits, expected)
    assert has_choice(logits).all() and not has_choice(torch.full((1, 5), -torch.inf)).any()


def test_a_tokenizer_that_is_not_fast_is_refused(tmp_path: Any) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\n[SEP]\na\n")
    slow = BertJapaneseTokenizer(tmp_path / "vocab.txt", word_tokenizer_type="basic")
    with pytest.raises(GrammarError, match="fast"):
        Grammar(slow, Form(None, ["a"]), stop_ids=[1], num_logits=3)
