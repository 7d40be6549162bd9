"""What checkpoints of LLaVA's own format are asked with: they have no chat template.

Conversations of `conversation.py` in haotian-liu/LLaVA (`vicuna_v1`, `mistral_instruct`,
`chatml_direct`) and in LLaVA-VL/LLaVA-NeXT (`qwen_1_5`, `llava_llama_3`), as Jinja templates. Which
one is not told by the checkpoint's name, as it is there, but by its decoder and its vocabulary.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

_QUESTION: Final = (
    "{% for part in messages[0]['content'] %}"
    "{{ '<image>\\n' if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}"
)

_LINE: Final = "{{ '\\n' }}"
"""At the end of a template, where Jinja drops a line end that is written as such."""

VICUNA_V1: Final = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    f"helpful, detailed, and polite answers to the user's questions. USER: {_QUESTION} ASSISTANT:"
)
"""LLaVA-1.5, LLaVA-1.6 on Vicuna and ShareGPT4V: what they were trained with (`--version v1`) and
are evaluated with (`--conv-mode vicuna_v1`). LLaVA's demonstrations say "human" for "user"."""

MISTRAL_INSTRUCT: Final = f"[INST] {_QUESTION} [/INST]"
"""LLaVA-1.6 on Mistral."""

CHATML_DIRECT: Final = (
    "<|im_start|>system\nAnswer the questions.<|im_end|>"
    f"<|im_start|>user\n{_QUESTION}<|im_end|><|im_start|>assistant{_LINE}"
)
"""LLaVA-1.6-34B."""

QWEN_1_5: Final = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    f"<|im_start|>user\n{_QUESTION}<|im_end|>\n<|im_start|>assistant{_LINE}"
)
"""LLaVA-NeXT on Qwen1.5."""

LLAVA_LLAMA_3: Final = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    f"{_QUESTION}<|eot_id|><|start_header_id|>assistant<|end_header_id|>{_LINE}{_LINE}"
)
"""LLaVA-NeXT on Llama 3."""


def conversation(decoder: str, vocabulary: Container[str]) -> str:
    """The template for a decoder of this `model_type` with these words."""
    if decoder == "mistral":
        return MISTRAL_INSTRUCT
    if decoder == "qwen2":
        return QWEN_1_5
    if "<|start_header_id|>" in vocabulary:
        return LLAVA_LLAMA_3
    return CHATML_DIRECT if "<|im_start|>" in vocabulary else VICUNA_V1
