import copy

import numpy as np
import pytest
import torch
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from lab.rendering.compose import KINDS, make_picture
from lab.rendering.drawing import draw_picture
from lab.rendering.picture import Picture, class_name
from lab.rendering.vocabulary import GLYPHS
from lab.training.clock import StageClock, cosine_with_warmup
from lab.training.config import PATCHES_PER_PARTITION
from lab.training.data.partitions import LABELS, cut_picture
from lab.training.language.batches import TEXT_ROOM, PictureRows, build_batch
from lab.training.language.packing import (
    NEWLINE,
    NO_LABEL,
    NO_TOKEN,
    TextTokens,
    pack,
    patch_at,
    visual_order,
)
from lab.training.language.texts import TextMaker
from lab.training.language.train import LanguageLearner, batch_loss
from lab.training.model import empty_model
from lab.training.tokenizer import build_processor, prompt
from lab.training.vision.train import VisionLearner, normalise


@pytest.fixture(scope="module")
def processor() -> LlavaNextProcessor:
    return build_processor()


@pytest.fixture(scope="module")
def model(processor: LlavaNextProcessor) -> LlavaNextForConditionalGeneration:
    torch.manual_seed(0)
    return empty_model(processor).eval()


class OnePicture:
    """A table of one picture, its features straight from the model's tower."""

    def __init__(self, model: LlavaNextForConditionalGeneration, picture: Picture) -> None:
        self.learner = VisionLearner(model.config.vision_config)
        self.learner.tower.load_state_dict(model.model.vision_tower.state_dict())
        self.shown = picture

    def picture(self, rows: PictureRows) -> Picture:
        return self.shown

    def features(self, pictures: list[PictureRows]) -> torch.Tensor:
        pixels = torch.from_numpy(cut_picture(self.shown).pixels)
        with torch.no_grad():
            return self.learner.features(normalise(pixels))[:, 1:].flatten(0, 1)[None]


def pictures(number: int) -> list[Picture]:
    return [make_picture(KINDS[seed % 3], "train", seed) for seed in range(number)]


def test_partitions_equal_the_image_processor(processor: LlavaNextProcessor) -> None:
    for picture in pictures(20):
        mine = normalise(torch.from_numpy(cut_picture(picture).pixels))
        image = draw_picture(picture).image
        theirs = processor.image_processor(image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(mine, theirs[0].float(), atol=1e-5, rtol=0)


def test_features_equal_the_tower(model: LlavaNextForConditionalGeneration) -> None:
    """The embedding as a matrix product, and the layers up to `hidden_states[-2]`."""
    learner = VisionLearner(model.config.vision_config)
    learner.tower.load_state_dict(model.model.vision_tower.state_dict())
    pixels = normalise(torch.from_numpy(cut_picture(pictures(1)[0]).pixels))
    with torch.no_grad():
        theirs = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(learner.features(pixels), theirs, atol=1e-4, rtol=1e-4)


def test_labels_are_within_their_ranges() -> None:
    for picture in pictures(30):
        labels = cut_picture(picture).labels
        for column, (name, count) in enumerate(LABELS.items()):
            known = labels[..., column][labels[..., 0] != 255]
            assert known.max() < count, name
        # One centre in the full-image and one in a sub-image for each object, unless they meet.
        centres = labels[..., -1].sum(axis=1)
        assert centres[1:].sum() <= len(picture.objects) >= centres[0]
        assert centres[1:].sum() >= len(picture.objects) - 1


def test_visual_order_equals_pack_image_features(model: LlavaNextForConditionalGeneration) -> None:
    newline = torch.full((1,), -1.0)
    for picture in pictures(60):
        num_rows = len(cut_picture(picture).pixels) * PATCHES_PER_PARTITION
        table = torch.arange(num_rows).float().view(-1, PATCHES_PER_PARTITION, 1)
        size = torch.tensor([[picture.height, picture.width]])
        packed, _ = model.model.pack_image_features([table], size, "default", newline)
        assert visual_order(picture.width, picture.height) == tuple(packed[0][:, 0].int().tolist())


@pytest.mark.parametrize("seed", [0, 1, 2, 7])
def test_packed_logits_equal_separate_prompts(
    processor: LlavaNextProcessor, model: LlavaNextForConditionalGeneration, seed: int
) -> None:
    picture, maker = make_picture(KINDS[seed % 3], "train", seed), TextMaker(processor.tokenizer)
    item = PictureRows(0, 0, 0, len(cut_picture(picture).pixels))
    table = OnePicture(model, picture)
    batch = build_batch(table, [item], maker, np.random.default_rng(5))
    image = draw_picture(picture).image
    inputs = processor(images=image, text=prompt("").split("\n")[0], return_tensors="pt")
    head = inputs.pop("input_ids")
    inputs.pop("attention_mask")
    with torch.no_grad():
        learner = LanguageLearner(copy.deepcopy(model)).eval()
        logits = learner(table.features([item]), batch).tokens[0]
        for number in range(1, int(batch.blocks.max()) + 1):
            here = batch.blocks[0, -TEXT_ROOM:] == number
            ids = torch.cat((head, batch.ids[:, here]), dim=1)
            alone = model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits
            torch.testing.assert_close(
                logits[here], alone[0, -int(here.sum()) :], atol=1e-5, rtol=1e-4
            )


def test_places_stand_at_the_ends_of_names(processor: LlavaNextProcessor) -> None:
    maker = TextMaker(processor.tokenizer)
    picture = next(p for p in pictures(60) if len(p.objects) >= 3)
    first, second = picture.objects[:2]
    text = f"Is the {class_name(first.class_id)} above the {class_name(second.class_id)}?"
    ids = np.array(maker.encode(text, "yes").ids)
    places = maker.places(picture, ids)
    named = np.flatnonzero(places[:, 0] != NO_LABEL)
    words = [processor.tokenizer.decode(ids[i - 1 : i + 1]).strip() for i in named]
    assert words == [class_name(first.class_id), class_name(second.class_id)]
    assert [tuple(places[i]) for i in named] == [
        patch_at(picture.width, picture.height, item.x, item.y) for item in (first, second)
    ]
    absent = np.array(maker.encode("What does the sign say?", "A4").ids)
    assert (maker.places(picture, absent) == NO_LABEL).all()


def test_loss_asks_for_places_where_they_are_told(
    processor: LlavaNextProcessor, model: LlavaNextForConditionalGeneration
) -> None:
    picture, maker = next(p for p in pictures(9) if p.signs), TextMaker(processor.tokenizer)
    item = PictureRows(0, 0, 0, len(cut_picture(picture).pixels))
    table = OnePicture(model, picture)
    batch = build_batch(table, [item], maker, np.random.default_rng(5))
    silent = batch._replace(places=torch.full_like(batch.places, NO_LABEL))
    with torch.no_grad():
        learner = LanguageLearner(copy.deepcopy(model)).eval()
        loss, logits = batch_loss(learner, table.features([item]), batch)
        plain, _ = batch_loss(learner, table.features([item]), silent)
    chosen, extra = batch.places != NO_LABEL, 0.0
    for asked in logits.places:
        surprise = -asked.double().log_softmax(-1)[chosen]
        extra += surprise.gather(-1, batch.places[chosen][:, None]).mean().item()
    assert extra > 3.0 and float(loss - plain) == pytest.approx(0.1 * extra, rel=1e-4)


def test_places_of_objects_are_those_that_the_labels_mark() -> None:
    num_objects = 0
    for picture in pictures(90):
        order = visual_order(picture.width, picture.height)
        line = order[PATCHES_PER_PARTITION:].index(NEWLINE) + 1
        labels = cut_picture(picture).labels.reshape(-1, len(LABELS))
        for item in picture.objects:
            column, row = patch_at(picture.width, picture.height, item.x, item.y)
            shown = labels[order[PATCHES_PER_PARTITION + row * line + column]]
            assert shown[-1] == 1 or shown[0] not in (0, 1 + item.class_id)
            num_objects += int(shown[-1])
    assert num_objects > 90


def test_pack_by_hand() -> None:
    texts = [TextTokens([7, 8, 9], 1), TextTokens([5] * 9, 2), TextTokens([4, 3], 1)]
    packed = pack((0, 1, -1), head=2, image_room=4, texts=texts, text_room=6)
    assert packed.visual.tolist() == [NO_TOKEN] * 2 + [0, 1, -1] + [NO_TOKEN] * 7
    # The second text does not fit; the third still counts as number 3.
    assert packed.blocks.tolist() == [0, 0, 0, 0, 0, -1, 1, 1, 1, 3, 3, -1]
    assert packed.positions[6:11].tolist() == [5, 6, 7, 5, 6]
    assert packed.ids.tolist() == [7, 8, 9, 4, 3, 0]
    assert packed.labels.tolist() == [NO_LABEL, 9, NO_LABEL, 3, NO_LABEL, NO_LABEL]


def test_prompt_and_answer_tokens_join(processor: LlavaNextProcessor) -> None:
    maker, tokenizer = TextMaker(processor.tokenizer), processor.tokenizer
    text = maker.encode("What does the sign say?", "STOP")
    whole = prompt("What does the sign say?") + " STOP</s>"
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids == [*maker.head, processor.image_token_id, *text.ids]
    assert tokenizer.decode(text.ids[-text.num_answer :]) == " STOP</s>"


def test_tokenizer_is_lossless_and_splits_glyphs(processor: LlavaNextProcessor) -> None:
    tokenizer = processor.tokenizer
    for text in ("a red circle and a sign that says STOP.", "Wëird ☃ text\n\tX1  y", ""):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    singles = tokenizer.convert_tokens_to_ids(list(GLYPHS))
    assert tokenizer(f" {GLYPHS}", add_special_tokens=False)["input_ids"][1:] == singles


def test_schedule() -> None:
    assert cosine_with_warmup(0, 0.0, 10) == pytest.approx(0.1)
    assert cosine_with_warmup(100, 0.0, 10) == 1.0
    assert cosine_with_warmup(100, 1.0, 10) == pytest.approx(0.0)
    clock = StageClock(limit_sec=100.0, elapsed_sec=99.9999999, max_lap_sec=0.0)
    assert clock.lap() < 1.0
    assert StageClock(limit_sec=100.0, elapsed_sec=250.0).lap() == 1.0
