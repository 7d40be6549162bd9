"""What checkpoints in LLaVA's own format are asked with, and how it is tokenised."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import sentencepiece

import hired_core
from hired_core import GenerationSettings, ReductionSettings
from hired_core.language.prompts import PromptError, PromptTemplate
from hired_core.models.checkpoint import CheckpointError
from hired_core.models.original.conversations import conversation
from hired_core.models.registry import load_whole_spec
from tests.support.halves import picture
from tests.support.models import load_prompt_template, load_spec
from tests.support.original_checkpoints import build_original

USER = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: <image>\n{} ASSISTANT:"
)
LLAMA_3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and "
    "vision assistant. You are able to understand the visual content that the user provides, and "
    "assist the user with a variety of tasks using natural language.<|eot_id|><|start_header_id|>"
    "user<|end_header_id|>\n\n<image>\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
    "\n\n"
)
SAID = {
    ("llama", ""): USER,
    ("mistral", ""): "[INST] <image>\n{} [/INST]",
    ("llama", "<|im_start|>"): "<|im_start|>system\nAnswer the questions.<|im_end|>"
    "<|im_start|>user\n<image>\n{}<|im_end|><|im_start|>assistant\n",
    ("qwen2", "<|im_start|>"): "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<image>\n{}<|im_end|>\n<|im_start|>assistant\n",
    ("llama", "<|start_header_id|>"): LLAMA_3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_original(tmp_path_factory.mktemp("original") / "model", seed=5)


@pytest.mark.parametrize("case", SAID)
def test_published_conversations(case: tuple[str, str], folder: Path) -> None:
    """As `get_prompt` of the published code writes them, by hand."""
    template = load_prompt_template(load_spec(str(folder)))
    decoder, word = case
    asked = PromptTemplate(
        tokenizer=template.tokenizer,
        template=conversation(decoder, {word}),
        image_token="<image>",
        apart=True,
    )
    assert asked.render("What is {{ this }}?") == SAID[case].format("What is {{ this }}?")


def test_the_image_token_lies_behind_the_vocabulary(folder: Path) -> None:
    spec = load_spec(str(folder))
    template = load_prompt_template(spec)
    image = template.tokenizer.convert_tokens_to_ids("<image>")
    assert image >= spec.vocab_size and "<image>" in template.control_tokens
    before, after = template.token_ids("Is <image> a word?", from_data=True)
    assert max(before + after) < spec.vocab_size
    with pytest.raises(PromptError, match="exactly one <image>"):
        template.token_ids("<image> against <image>")


def test_a_template_put_into_the_folder_goes_before(tmp_path: Path) -> None:
    folder = build_original(tmp_path / "model", seed=5)
    content = json.loads((folder / "tokenizer_config.json").read_text())
    content["chat_template"] = "{{ messages[0]['content'] }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    assert load_prompt_template(load_spec(str(folder))).render("Hi?") == USER.format("Hi?")
    (folder / "chat_template.jinja").write_text("<image>{{ messages[0]['content'][1]['text'] }}")
    assert load_prompt_template(load_spec(str(folder))).render("Hi?") == "<image>Hi?"


@pytest.fixture
def pieces(folder: Path, tmp_path: Path) -> Path:
    """Configuration and, of a tokenizer, SentencePiece's file alone, as LLaVA-1.5 has it."""
    sentences = ["A chat. USER: Describe the image. ASSISTANT:", "a red ring, a blue star"]
    made = tmp_path / "pieces"
    made.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 20),
        model_prefix=str(made / "tokenizer"),
        model_type="bpe",
        vocab_size=320,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    said = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True}
    said |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (made / "tokenizer_config.json").write_text(json.dumps(said))
    for path in (*folder.glob("model.safetensors"), *folder.glob("*config.json")):
        if not (made / path.name).exists():
            (made / path.name).symlink_to(path)
    (tmp_path / "clip-vit-tiny-patch14-56").symlink_to(folder.parent / "clip-vit-tiny-patch14-56")
    return made


@pytest.mark.parametrize("prompt", ["Describe the image.", "a </s> ring", "<image>\nUSER: a star"])
def test_texts_around_the_image_are_tokenised_apart(pieces: Path, prompt: str) -> None:
    """SentencePiece itself puts a blank before each of the two, the second of which begins with the
    line end behind `<image>`."""
    template = load_prompt_template(load_spec(str(pieces)))
    own = sentencepiece.SentencePieceProcessor(model_file=str(pieces / "tokenizer.model"))
    before, after = template.token_ids(prompt)
    head, tail = template.render(prompt).split("<image>")
    assert before == [1, *(own.encode(head) if head else [])]
    if "</s>" not in prompt:
        assert after == own.encode(tail)
    assert 2 not in after


def test_without_sentencepiece_its_files_are_refused(
    pieces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_whole_spec(str(pieces))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "hired_core.models.wholeness.find_spec",
        lambda name: None if name == "sentencepiece" else real(name),
    )
    with pytest.raises(CheckpointError, match=r"tokenizer\.model needs the package sentencepiece"):
        load_whole_spec(str(pieces))


def test_answers_of_a_form(folder: Path) -> None:
    """The mask of allowed words is as wide as the vocabulary, the image token behind it."""
    vlm = hired_core.load(
        str(folder),
        settings=ReductionSettings(method="hired", budget=0.3),
        generation=GenerationSettings(max_new_tokens=12, choices=("red", "blue")),
    )
    answers = vlm.ask(picture(90, 60), ["Is it red?", "Is it blue?"])
    assert {answer.text for answer in answers} <= {"red", "blue"}
