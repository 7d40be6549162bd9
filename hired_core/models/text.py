"""Decoder, tokenizer and chat template of a checkpoint, as most families store them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.initialization import no_init_weights

from hired_core.choices import WeightFormat
from hired_core.geometry.spec import ModelSpec
from hired_core.language.prompts import PromptTemplate
from hired_core.models.checkpoint import CheckpointError, decoder_name, fill, read_json
from hired_core.models.weights import filled, home_of


@contextmanager
def no_init(device: torch.device | str) -> Iterator[None]:
    """Modules made inside have room for weights on `device`, and no values yet."""
    with no_init_weights(), torch.device(device):
        yield


def spec_fields(text: Any, *, projector_params: int) -> dict[str, Any]:
    """The fields of `ModelSpec` that the decoder's configuration tells."""
    head_dim = int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    queries, shared = text.num_attention_heads * head_dim, text.num_key_value_heads * head_dim
    width, layers = text.hidden_size, text.num_hidden_layers
    layer = width * (2 * queries + 2 * shared + 3 * text.intermediate_size)
    return {
        "text_width": width,
        "text_inner": text.intermediate_size,
        "query_width": queries,
        "kv_width": shared,
        "num_text_layers": layers,
        "vocab_size": text.vocab_size,
        "max_context": text.max_position_embeddings,
        "text_params": int(projector_params + layers * layer + text.vocab_size * width),
        "kv_values_per_token": int(2 * layers * shared),
    }


def empty_decoder(config: Any) -> nn.Module:
    """The causal language model without weights."""
    with torch.device("meta"):
        decoder: nn.Module = AutoModelForCausalLM.from_config(config.text_config)
    decoder.tie_weights()  # type: ignore[operator]  # transformers is untyped.
    return decoder


def load_decoder(
    config: Any,
    tensors: Iterator[tuple[str, Tensor]],
    *,
    device: torch.device,
    dtype: torch.dtype,
    quantized: WeightFormat | None = None,
) -> nn.Module:
    """transformers' causal language model, in evaluation mode.

    Args:
        tensors: the checkpoint's, see `decoder_name`.
        quantized: see `hired_core.models.weights`.
    """
    with no_init(home_of(device, quantized)):
        decoder = AutoModelForCausalLM.from_config(
            config.text_config, dtype=dtype, attn_implementation="sdpa"
        )
    decoder.tie_weights()
    tied = {"lm_head.weight"} if config.text_config.tie_word_embeddings else set()
    return filled(decoder, tensors, tied=tied, device=device, quantized=quantized)


def load_words(
    config: Any,
    tensors: Iterator[tuple[str, Tensor]],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> nn.Embedding:
    """The decoder's table of words, and nothing else of it.

    Args:
        tensors: by `table_name`.
    """
    text = config.text_config
    with no_init(device):
        words = nn.Embedding(text.vocab_size, text.hidden_size, dtype=dtype)
    fill(words, tensors, tied=set())
    return words.eval()


def table_name(decoder: str, stored: str) -> str | None:
    """What `load_words` calls the one weight that it takes.

    Args:
        decoder: as of `decoder_name`.
    """
    return "weight" if decoder_name(decoder, stored) == "model.embed_tokens.weight" else None


def live_decoder(model: Any, name: str) -> nn.Module:
    """The causal language model around a live decoder and head; no weight is copied."""
    config = copy.deepcopy(model.config.text_config)
    with no_init("meta"):
        decoder = AutoModelForCausalLM.from_config(
            config, dtype=model.dtype, attn_implementation="sdpa"
        )
    decoder.model = getattr(model.model, name)
    decoder.lm_head = model.lm_head
    decoder.eval()
    return decoder  # type: ignore[no-any-return]  # transformers is untyped.


def load_tokenizer(spec: ModelSpec) -> Any:
    return AutoTokenizer.from_pretrained(spec.path, trust_remote_code=False)


def load_prompt_template(folder: Path, tokenizer: Any, image_token_id: int) -> PromptTemplate:
    """The chat template, from whichever of a checkpoint's files carries it."""
    stored = folder / "chat_template.jinja"
    template = stored.read_text(encoding="utf-8") if stored.is_file() else None
    for name in ("processor_config.json", "chat_template.json", "tokenizer_config.json"):
        template = template or read_json(folder, name).get("chat_template")
    image_token = tokenizer.convert_ids_to_tokens(image_token_id)
    return PromptTemplate(tokenizer=tokenizer, template=template, image_token=image_token)


def embeddings_of(words: Sequence[str], decoder: Any, tokenizer: Any) -> Tensor:
    """[S, D]: how the decoder reads these tokens.

    Raises:
        CheckpointError: if the tokenizer does not have one of them.
    """
    known = tokenizer.get_vocab()
    missing = [word for word in words if word not in known]
    if missing:
        raise CheckpointError(f"the tokenizer has no token {missing[0]!r}")
    ids = torch.tensor([known[word] for word in words])
    table: Tensor = decoder.get_input_embeddings().weight.detach()
    return table[ids.to(table.device)]


def stop_ids(folder: Path, config: Any) -> frozenset[int]:
    """Ids that end a text."""
    stop = read_json(folder, "generation_config.json").get("eos_token_id")
    stop = config.text_config.eos_token_id if stop is None else stop
    return frozenset(stop if isinstance(stop, list) else [stop])
