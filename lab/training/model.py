"""The embedded architecture with fresh weights."""

from __future__ import annotations

from transformers import GenerationConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor

from lab.training.config import model_config

__all__ = ["empty_model"]


def empty_model(processor: LlavaNextProcessor) -> LlavaNextForConditionalGeneration:
    """The embedded architecture with fresh weights, for the processor's tokenizer."""
    tokenizer = processor.tokenizer
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    model = LlavaNextForConditionalGeneration(
        model_config(len(tokenizer), processor.image_token_id, *ids)
    )
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=96,
        bos_token_id=ids[0],
        eos_token_id=ids[1],
        pad_token_id=ids[2],
    )
    return model
