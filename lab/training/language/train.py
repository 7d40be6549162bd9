"""Training of the projector and the language model on the frozen tower's features.

Dense only: every visual token of every image, in the order and at the positions in which
LLaVA-Next would see them. Besides the answers, middle layers are asked, after the name of an
object, where it lies (deep supervision): a relation of two objects is answered by one word, which
alone taught nothing about looking them up.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from lab.rendering.geometry import PARTITION_SIZE
from lab.rendering.vocabulary import COLOURS, GLYPHS, SHAPES
from lab.training.config import PATCH_SIZE, TrainingConfig
from lab.training.data.augment import augment
from lab.training.data.stream import Draw, stream
from lab.training.language.attention import PACKED
from lab.training.language.batches import LanguageBatch, PictureTable, build_batch
from lab.training.language.features import FrozenTower
from lab.training.language.packing import NEWLINE, NO_LABEL
from lab.training.language.texts import TextMaker
from lab.training.loop import StageLoop
from lab.training.machine import can_compile, num_feeders, pick_device, precision
from lab.training.model import empty_model
from lab.training.tokenizer import build_processor

__all__ = [
    "LanguageLearner",
    "LanguageLogits",
    "Meter",
    "batch_loss",
    "language_checkpoint",
    "start_weights",
    "token_groups",
    "train_language",
]

_LOG_EVERY = 20
# Layers after which the name of an object is asked for the object's column and row, and how many
# there are of each: three partitions' on the longest canvas.
_LOOKUP_LAYERS = (1, 2)
_NUM_PLACES = 3 * PARTITION_SIZE // PATCH_SIZE
_LOOKUP_SHARE = 0.1


class LanguageLogits(NamedTuple):
    """Logits of the text area: of the next token `[B, T, vocabulary]`, and of places.

    Attributes:
        tokens: of the next token.
        places: of column and row of what is named, `[B, T, 2, _NUM_PLACES]` after each of
            `_LOOKUP_LAYERS`.
    """

    tokens: Tensor
    places: tuple[Tensor, ...]


class LanguageLearner(nn.Module):
    """The parts of a model behind its vision tower, and heads that only training uses.

    They are the model's own modules; the model itself must not be run afterwards, as its attention
    now expects packed sequences.

    Args:
        projector: of models that have none under LLaVA's name; these have no newline either.
    """

    def __init__(self, model: Any, projector: nn.Module | None = None) -> None:
        super().__init__()
        self.projector: Any = projector or model.model.multi_modal_projector
        self.newline: Any = None if projector else model.model.image_newline
        self.language_model = model.model.language_model
        self.language_model.set_attn_implementation(PACKED)
        self.lm_head = model.lm_head
        width = self.lm_head.in_features
        self.place_heads = nn.ModuleList(_place_head(width) for _ in _LOOKUP_LAYERS)

    def forward(self, features: Tensor, batch: LanguageBatch) -> LanguageLogits:
        """Logits of the text area for features `[B, P * N, C]`."""
        embed, table = self.language_model.embed_tokens, self.projector(features)
        if self.newline is not None:
            newline = self.newline.to(table.dtype).expand(len(table), 1, -1)
            table = torch.cat((table, newline), dim=1)
        head = embed(batch.head).to(table.dtype).expand(len(table), -1, -1)
        num_head, num_text = head.shape[1], batch.ids.shape[1]
        # NEWLINE, -1, is the last row of the table; filling takes a row that nothing sees.
        rows = batch.visual[:, num_head:-num_text]
        rows = torch.where(rows == NEWLINE, table.shape[1] - 1, rows.clamp(min=0))
        image = torch.gather(table, 1, rows[:, :, None].expand(-1, -1, table.shape[2]))
        embedded = torch.cat((head, image, embed(batch.ids).to(table.dtype)), dim=1)
        output = self.language_model(
            inputs_embeds=embedded,
            attention_mask=batch.mask(),
            position_ids=batch.position_ids(),
            use_cache=False,
            output_hidden_states=True,
        )
        # The first hidden state is the input of layer 0.
        after = output.hidden_states[1:]
        places = tuple(
            ask(after[layer][:, -num_text:].float())
            for layer, ask in zip(_LOOKUP_LAYERS, self.place_heads, strict=True)
        )
        return LanguageLogits(self.lm_head(output.last_hidden_state[:, -num_text:]), places)


def _place_head(width: int) -> nn.Module:
    """Logits of a column and a row, `[..., 2, _NUM_PLACES]`."""
    unflatten = nn.Unflatten(-1, (2, _NUM_PLACES))
    return nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 2 * _NUM_PLACES), unflatten)


def language_checkpoint(config: TrainingConfig) -> Path:
    """Where the language stage keeps its checkpoint."""
    return config.folder / "language.pt"


def start_weights(learner: LanguageLearner, features: Tensor) -> None:
    """Lets the projector standardise features `[n, C]`; embeddings get the size of its output."""
    mean, std = features.mean(0), features.std(0)
    first, second = learner.projector.linear_1, learner.projector.linear_2
    with torch.no_grad():
        first.weight.normal_(std=1 / math.sqrt(len(mean))).div_(std.clamp(min=1e-3))
        first.bias.copy_(-(first.weight @ mean))
        second.weight.normal_(std=0.2 / math.sqrt(second.in_features))
        second.bias.zero_()
        learner.language_model.embed_tokens.weight.normal_(std=0.1)
        learner.newline.normal_(std=0.1)


def train_language(config: TrainingConfig) -> None:
    """Trains to the end of the stage's minutes, from its checkpoint if there is one."""
    torch.manual_seed(0)
    device, processor = pick_device(), build_processor()
    tower = FrozenTower(config, device)
    learner = LanguageLearner(empty_model(processor))
    loop = StageLoop("language", language_checkpoint(config), learner, config.language_lr, device)
    if not loop.step:
        table = PictureTable(config)
        pixels = table.pixels(table.draw(np.random.default_rng(11), 32))
        start_weights(learner, tower(pixels.to(device)).flatten(0, 1))
    if can_compile(device):
        # One layer is compiled for all of them.
        for layer in learner.language_model.layers:
            layer.compile(dynamic=False)
    batches = stream(functools.partial(_open_draw, config), (11, loop.step), num_feeders(device))
    meter = Meter(processor.tokenizer, device)

    def next_loss() -> Tensor:
        pixels, batch = next(batches)
        batch = batch.to(device)
        features = tower(pixels.to(device)).unflatten(0, (len(batch.ids), -1)).flatten(1, 2)
        with precision(device):
            loss, logits = batch_loss(learner, features, batch)
        meter.add(batch, logits)
        return loss

    loop.train(config.language_minutes, config.checkpoint_sec, next_loss, meter.line, _LOG_EVERY)


def _open_draw(config: TrainingConfig) -> Draw[tuple[Tensor, LanguageBatch]]:
    """Draws the partitions of pictures, a little changed, and what is asked about them."""
    table, maker = PictureTable(config), TextMaker(build_processor().tokenizer)

    def draw(rng: np.random.Generator) -> tuple[Tensor, LanguageBatch]:
        pictures = table.draw(rng, config.language_batch)
        batch = build_batch(table, pictures, maker, rng)
        return augment(table.pixels(pictures), rng), batch

    return draw


def batch_loss(
    learner: LanguageLearner, features: Tensor, batch: LanguageBatch
) -> tuple[Tensor, LanguageLogits]:
    """Loss of the answers' tokens and of places, and the logits."""
    logits = learner(features, batch)
    tokens = logits.tokens.float()
    loss = F.cross_entropy(tokens.flatten(0, 1), batch.labels.flatten(), ignore_index=NO_LABEL)
    for places in logits.places:
        loss = loss + _LOOKUP_SHARE * _place_loss(places, batch.places)
    return loss, logits


def _place_loss(logits: Tensor, places: Tensor) -> Tensor:
    """Mean cross-entropy of columns and rows; 0 where no place is asked for."""
    total = F.cross_entropy(
        logits.float().flatten(0, 2), places.flatten(), ignore_index=NO_LABEL, reduction="sum"
    )
    return total / (places != NO_LABEL).sum().clamp(min=1)


def token_groups(tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Token ids by what they say: colours and shapes, glyphs, yes or no, sides."""
    groups = {
        "words": [f" {word}" for word in (*COLOURS, *SHAPES)],
        "glyphs": list(GLYPHS),
        "yes/no": [" yes", " no"],
        "sides": [" top", " bottom", " left", " right"],
    }
    return {
        name: [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in texts]
        for name, texts in groups.items()
    }


class Meter:
    """Since the last line: loss of the answers, accuracy of their tokens by kind and of places."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, device: torch.device) -> None:
        groups = token_groups(tokenizer)
        self._groups = {k: torch.tensor(v, device=device) for k, v in groups.items()}
        self._reset()

    def _reset(self) -> None:
        self._loss: list[float] = []
        self._right: Counter[str] = Counter()
        self._total: Counter[str] = Counter()

    @torch.no_grad()
    def add(self, batch: LanguageBatch, logits: LanguageLogits) -> None:
        is_answer = batch.labels != NO_LABEL
        tokens, answers = logits.tokens[is_answer].float(), batch.labels[is_answer]
        self._loss.append(float(F.cross_entropy(tokens, answers)))
        right = tokens.argmax(-1) == answers
        for name, ids in self._groups.items():
            self._count(name, right[torch.isin(answers, ids)])
        found = logits.places[-1].argmax(-1) == batch.places
        self._count("places", found[batch.places != NO_LABEL])

    def _count(self, name: str, right: Tensor) -> None:
        self._right[name] += int(right.sum())
        self._total[name] += right.numel()

    def line(self) -> str:
        shares = (f"{k} {self._right[k] / max(1, n):.3f}" for k, n in self._total.items())
        text = f"answers {np.mean(self._loss):.3f} {' '.join(shares)}"
        self._reset()
        return text
