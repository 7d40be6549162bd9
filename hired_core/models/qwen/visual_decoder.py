"""A Qwen-VL decoder alone as a causal language model, which transformers has only with its tower.

Text models, rotary sections and all, are transformers' own.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class VisualDecoder(PreTrainedModel, GenerationMixin):  # type: ignore[misc]  # Untyped.
    """Embedding, layers and head; `position_ids` are [3, B, L], or [B, L] where all are alike.

    `inputs_embeds` are [B, L, (1 + d) D], as `LanguageModel.embed` lays them out.
    """

    base_model_prefix = "model"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = AutoModel.from_config(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **unused: Any,
    ) -> CausalLMOutputWithPast:
        added: dict[str, Any] = {}
        if inputs_embeds is not None:
            inputs_embeds, added = _split(inputs_embeds, self.config.hidden_size)
        out = self.model(
            input_ids=input_ids if inputs_embeds is None else None,
            inputs_embeds=inputs_embeds,
            **added,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        hidden = out.last_hidden_state[:, -logits_to_keep:]
        return CausalLMOutputWithPast(
            logits=self.lm_head(hidden), past_key_values=out.past_key_values
        )


def _split(embeds: Tensor, width: int) -> tuple[Tensor, dict[str, Any]]:
    """Rows [B, L, D], and what the text model calls that which its first layers add to some."""
    if embeds.shape[-1] == width:
        return embeds, {}
    added = embeds[..., width:].unflatten(-1, (-1, width))
    visual = added.any(-1).any(-1)
    return embeds[..., :width], {
        "visual_pos_masks": visual,
        "deepstack_visual_embeds": list(added[visual].unbind(1)),
    }
