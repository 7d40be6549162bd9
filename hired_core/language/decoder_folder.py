"""A decoder that another process runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import nn

__all__ = ["TEXT_MODELS", "DecoderFolder"]

TEXT_MODELS: Final = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""`model_type` of a decoder -> the architecture that its folder names."""


class DecoderFolder(nn.Module):
    """Stands for a decoder whose layers lie in a folder; of its weights it holds the words alone.

    What embeds prompts needs no more of a decoder.

    Attributes:
        path: an ordinary text model in Hugging Face format.
    """

    def __init__(self, path: Path, words: nn.Embedding) -> None:
        super().__init__()
        self.path = path
        self.words = words

    def get_input_embeddings(self) -> nn.Embedding:
        """[V, D], as in transformers' models."""
        return self.words
