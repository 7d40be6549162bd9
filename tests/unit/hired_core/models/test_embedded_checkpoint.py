import json
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from lab.evaluation.scoring.captions import items_named
from lab.rendering import render
from lab.rendering.compose import make_picture
from lab.rendering.drawing import draw_picture
from lab.rendering.geometry import CANVASES, PARTITION_SIZE
from lab.rendering.splits import SPLITS
from lab.training.export import EMBEDDED
from lab.training.measure import answer_all
from lab.training.tokenizer import prompt


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(EMBEDDED)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForImageTextToText.from_pretrained(EMBEDDED, dtype=torch.float32).eval()


def test_geometry(model: Any, processor: Any) -> None:
    config = model.config
    assert config.model_type == "llava_next"
    assert (config.vision_feature_layer, config.vision_feature_select_strategy) == (-2, "default")
    assert (config.vision_config.image_size, config.vision_config.patch_size) == (
        PARTITION_SIZE,
        14,
    )
    assert [tuple(canvas) for canvas in config.image_grid_pinpoints] == list(CANVASES)
    assert processor.image_processor.image_grid_pinpoints == config.image_grid_pinpoints
    assert model.generation_config.do_sample is False
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id


def test_files_are_small_and_name_no_folder() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) <= 40 * 2**20
    for path in EMBEDDED.glob("*.json"):
        text = path.read_text()
        assert "_name_or_path" not in text
        assert "/work" not in text
        json.loads(text)


def test_chat_template_is_the_trained_prompt(processor: Any) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "Describe the image."}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    assert text == prompt("Describe the image.")


def test_placeholders_equal_visual_tokens(model: Any, processor: Any) -> None:
    for offset in range(12):
        picture = make_picture("scene", "validation", SPLITS["validation"].first_seed + offset)
        image = draw_picture(picture).image
        inputs = processor(images=image, text="<image>", return_tensors="pt")
        with torch.no_grad():
            features = model.model.get_image_features(
                inputs["pixel_values"], inputs["image_sizes"]
            ).pooler_output
        assert inputs["input_ids"].shape[1] == features[0].shape[0]


def test_dense_captions_are_right(model: Any, processor: Any) -> None:
    """By transformers alone, on pictures of a split that was not trained on."""
    images = list(render("validation", 16, tasks=("caption",)))
    right = total = 0
    for image, answer in zip(images, answer_all(model, processor, images), strict=True):
        named, shown = items_named(answer), items_named(image.questions[0].answers[0])
        right, total = right + len(named & shown), total + len(named) + len(shown)
        assert answer.endswith(".")
    assert 2 * right / total >= 0.7
