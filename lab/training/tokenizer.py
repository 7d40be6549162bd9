"""The tokenizer and the processor of the embedded model."""

from __future__ import annotations

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlavaNextImageProcessorPil, LlavaNextProcessor, PreTrainedTokenizerFast

from lab.rendering.compose import KINDS, make_picture
from lab.rendering.geometry import CANVASES, PARTITION_SIZE
from lab.rendering.splits import SPLITS
from lab.rendering.tasks import CAPTION_PROMPTS, TASKS, caption
from lab.rendering.vocabulary import GLYPHS
from lab.training.config import PATCH_SIZE

__all__ = ["BOS", "EOS", "IMAGE", "PAD", "build_processor", "prompt"]

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
_USER, _ASSISTANT = "USER:", "ASSISTANT:"
# Upper-case letters and digits stand alone, so that a glyph is one token wherever it stands.
_PIECES = r"[A-Z0-9]| ?[a-z]+|[^A-Za-z0-9\s]|\s"
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "USER: {% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] if item['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for item in message['content'] if item['type'] == 'text' %}{{ item['text'] }}{% endfor %}"
    "{% endif %} {% elif message['role'] == 'assistant' %}ASSISTANT: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] if item['type'] == 'text' %}{{ item['text'] }}{% endfor %}"
    "{% endif %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def prompt(text: str) -> str:
    """The prompt of one question about one image; the answer follows after a space."""
    return f"{BOS}USER: {IMAGE}\n{text} ASSISTANT:"


def build_processor() -> LlavaNextProcessor:
    """The processor, its tokenizer trained on texts of the first training pictures."""
    image_processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": PARTITION_SIZE},
        crop_size={"height": PARTITION_SIZE, "width": PARTITION_SIZE},
        image_grid_pinpoints=[list(canvas) for canvas in CANVASES],
    )
    return LlavaNextProcessor(
        image_processor=image_processor,
        tokenizer=_tokenizer(),
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=[PAD, BOS, EOS, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(), trainer)
    core.add_tokens([AddedToken(text, normalized=False) for text in (_USER, _ASSISTANT)])
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        extra_special_tokens={"image_token": IMAGE},
    )


def _texts() -> list[str]:
    texts = list(CAPTION_PROMPTS) + list(GLYPHS)
    for offset in range(2000):
        seed = SPLITS["train"].first_seed + offset
        rng = np.random.default_rng(seed)
        pictures = {kind: make_picture(kind, "train", seed) for kind in KINDS}
        texts += [f" {caption(picture)}" for picture in pictures.values()]
        for task in TASKS.values():
            if (asked := task.ask(pictures[task.picture], rng)) is not None:
                texts += [asked.text, f" {asked.answer}"]
    return texts
