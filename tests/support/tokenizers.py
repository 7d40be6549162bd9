"""Small tokenizers of the kinds that open models have, trained on a few sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

_SENTENCES = (
    '{"caption": "a red ring", "count": 3, "tags": ["red", "ring"]}',
    "a yellow square and a green triangle beside a blue star",
    "true false null 0.25 -17 yes no",
)


def byte_level() -> Any:
    """As of Qwen, Llama 3 and GPT: every byte is a letter of the vocabulary."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained = _trained(tokenizer, ["<|im_start|>", "<|im_end|>"], alphabet)
    return _wrapped(trained, "<|im_end|>")


def byte_fallback() -> Any:
    """As of Llama 2: SentencePiece's, which spells unknown letters by tokens for bytes, writes
    blanks as a letter, and puts one before the text that decoding takes away."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return _with_bytes(_trained(tokenizer, ["<unk>", "<s>", "</s>"]))


def metaspace() -> Any:
    """As of later Mistral: the same by a pre-tokenizer, no blank put before the text."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return _with_bytes(_trained(tokenizer, ["<unk>", "<s>", "</s>", "[INST]"]))


KINDS = {"byte level": byte_level, "byte fallback": byte_fallback, "metaspace": metaspace}


def _trained(tokenizer: Tokenizer, special: list[str], alphabet: Sequence[str] = ()) -> Tokenizer:
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=list(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    return tokenizer


def _with_bytes(tokenizer: Tokenizer) -> Any:
    """With a word for every byte, which is no special token."""
    data = json.loads(tokenizer.to_str())
    words = data["model"]["vocab"]
    words |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    return _wrapped(Tokenizer.from_str(json.dumps(data)), "</s>")


def _wrapped(tokenizer: Tokenizer, end: str) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)


def _sentences() -> Iterator[str]:
    for _ in range(3):
        yield from _SENTENCES
