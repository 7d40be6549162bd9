"""SmolVLM and SmolVLM2: Idefics3 by another name, with their own sizes; see there."""

from __future__ import annotations

from hired_core.models.idefics3 import Idefics3


class SmolVlm(Idefics3):
    """`SmolVLMForConditionalGeneration`, for single images."""

    name = "smolvlm"


FAMILY = SmolVlm()
