import json
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from pipeline.evaluation.drawing import draw_scene
from pipeline.evaluation.metrics import SetScore, content_of, parse_caption, pool
from pipeline.evaluation.scenes import CANVASES, make_scene
from pipeline.evaluation.texts import CAPTION_PROMPTS
from pipeline.training.config import VALIDATION_SEED
from pipeline.training.export import EMBEDDED
from pipeline.training.measure import answer_all
from pipeline.training.tokenizer import prompt


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
    assert (config.vision_config.image_size, config.vision_config.patch_size) == (112, 14)
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
    for seed in range(VALIDATION_SEED, VALIDATION_SEED + 12):
        inputs = processor(images=draw_scene(make_scene(seed)), text="<image>", return_tensors="pt")
        with torch.no_grad():
            features = model.model.get_image_features(
                inputs["pixel_values"], inputs["image_sizes"]
            ).pooler_output
        assert inputs["input_ids"].shape[1] == features[0].shape[0]


def test_dense_captions_are_right(model: Any, processor: Any) -> None:
    scenes = [make_scene(VALIDATION_SEED + i) for i in range(16)]
    texts = answer_all(model, processor, [(scene, CAPTION_PROMPTS[0]) for scene in scenes])
    scores = [
        SetScore.of(parse_caption(text).objects, content_of(scene).objects)
        for scene, (text, _) in zip(scenes, texts, strict=True)
    ]
    assert pool(scores).f1 >= 0.7
    assert all(ended for _, ended in texts)
