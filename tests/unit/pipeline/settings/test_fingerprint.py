"""The fingerprint follows what changes a caption, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hired_core.language.generation import GenerationSettings
from hired_core.models.checkpoint import weights_digest
from pipeline.settings.config import (
    CaptionConfig,
    DuplicatesConfig,
    InputConfig,
    JobConfig,
    ModelConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
)
from pipeline.settings.fingerprint import fingerprint, fingerprint_fields
from tests.support.models import load_spec
from tests.support.settings import reduction

BASE = JobConfig(
    input=InputConfig(input=["a"]),
    output=OutputConfig(output="o"),
    reduction=reduction(budget=0.2),
)
SPEC = load_spec("embedded")
VARIATIONS = [
    {"positions": "original"},
    {"allocation": "final"},
    {"allocation": "even"},
    {"dropping": "middle"},
    {"dropping": "initial"},
    {"heads": "none"},
    {"positions": "original", "allocation": "final", "dropping": "middle", "heads": "none"},
]


def digest(config: JobConfig, dtype: str = "float32") -> str:
    return fingerprint(fingerprint_fields(config, SPEC, dtype))


CONSTRAINTS: list[dict[str, Any]] = [
    {"repetition_penalty": 1.1},
    {"no_repeat_ngram_size": 3},
    {"min_new_tokens": 1},
    {"stop_strings": ("###",)},
    {"choices": ("yes", "no")},
    {"schema": {"type": "string", "maxLength": 9}},
]


@pytest.mark.parametrize(
    "changed",
    [
        {"reduction": reduction(budget=0.4)},
        {"reduction": reduction(budget=64)},
        {"reduction": reduction(budget=0.2, method="uniform")},
        {"reduction": reduction(budget=0.2, alpha=0.6)},
        {"reduction": reduction(budget=0.2, newline="all")},
        {"reduction": reduction(budget=0.2, budget_basis="image")},
        {"reduction": reduction(budget=0.2, skip_below=8)},
        {"reduction": reduction(budget=0.2, positions="original")},
        {"question": CaptionConfig(prompt="Describe the image")},
        {"question": CaptionConfig(prompt="plain=Describe the image.")},
        {"question": CaptionConfig(prompt=["a=Describe the image.", "b=What?"])},
        {"question": CaptionConfig(prompt="{{ alt }}")},
        {"question": CaptionConfig(prompt_column="prompt")},
        {"question": CaptionConfig(prompt_column="other")},
        {"question": QuestionConfig()},
        {"generation": GenerationSettings(max_new_tokens=65)},
        {"generation": GenerationSettings(temperature=0.5)},
        {"generation": GenerationSettings(top_p=0.9)},
        {"generation": GenerationSettings(seed=1)},
        *({"generation": GenerationSettings(**chosen)} for chosen in CONSTRAINTS),
        {"input": InputConfig(input=["a"], image_column="other")},
        {"input": InputConfig(input=["a"], id_column="id")},
        {"input": InputConfig(input=["a"], image_root="/data")},
        {"input": InputConfig(input=["a"], resize="fast")},
        {"input": InputConfig(input=["a"], reduced_decode=True)},
        {"duplicates": DuplicatesConfig(near_duplicates=0)},
    ],
)
def test_what_changes_a_caption_changes_it(changed: dict[str, Any]) -> None:
    assert digest(dataclasses.replace(BASE, **changed)) != digest(BASE)


def test_constraints_of_generation_are_named_only_where_there_are_any() -> None:
    """Results made before there were any are of none."""
    before = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    assert fingerprint_fields(BASE, SPEC, "float32")["generation"] == before
    for chosen in CONSTRAINTS:
        config = dataclasses.replace(BASE, generation=GenerationSettings(**chosen))
        found = fingerprint_fields(config, SPEC, "float32")["generation"]
        told = {k: json.dumps(v) if k == "schema" else v for k, v in chosen.items()}
        assert found == before | json.loads(json.dumps(told))


def test_of_a_schema_the_content_counts_and_its_order(tmp_path: Path) -> None:
    """Texts have properties in the order of the schema; what the file is called changes none."""
    properties = {"a": {"type": "string"}, "b": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties}
    turned = {**schema, "properties": dict(reversed(properties.items()))}
    (tmp_path / "one.json").write_text(json.dumps(schema, indent=2))
    found = [
        digest(dataclasses.replace(BASE, generation=GenerationSettings(schema=given)))
        for given in (schema, tmp_path / "one.json", turned)
    ]
    assert found[0] == found[1] != found[2]


def test_ways_of_cutting_differ_and_only_those_that_are_chosen_are_named() -> None:
    """Results made before there was a choice are of the default."""
    ways = [{}, {"resize": "fast"}, {"reduced_decode": True}]
    ways.append({"resize": "fast", "reduced_decode": True})
    configs = [
        dataclasses.replace(BASE, input=InputConfig(input=["a"], **way))  # type: ignore[arg-type]
        for way in ways
    ]
    assert len({digest(config) for config in configs}) == 4
    plain = fingerprint_fields(BASE, SPEC, "float32").keys()
    for way, config in zip(ways, configs, strict=True):
        assert fingerprint_fields(config, SPEC, "float32").keys() - plain == way.keys()


def test_a_root_of_images_counts_where_there_is_one_and_tells_no_secret() -> None:
    inputs = InputConfig(input=["a"], image_root="https://me:secret@host/a?sig=secret")
    fields = fingerprint_fields(dataclasses.replace(BASE, input=inputs), SPEC, "float32")
    assert fields["image_root"] == "https://host/a?..."
    assert "image_root" not in fingerprint_fields(BASE, SPEC, "float32")


def test_settings_for_ablations_are_named_only_where_they_are_chosen_and_count() -> None:
    """Results made before there was a choice are of the default: this is what theirs were."""
    plain = fingerprint_fields(BASE, SPEC, "float32").keys()
    assert plain == {
        *("model", "weights", "dtype", "image_column", "id_column", "method", "token_budget"),
        *("budget_basis", "alpha", "newline", "transposed_grid", "skip_below", "prompt"),
        *("prompt_column", "generation", "sampler", "preprocessing"),
    }
    for chosen in VARIATIONS:
        selection = reduction(budget=0.2, **chosen)  # type: ignore[arg-type]
        config = dataclasses.replace(BASE, reduction=selection)
        fields = fingerprint_fields(config, SPEC, "float32")
        assert digest(config) != digest(BASE)
        assert {key: fields[key] for key in fields.keys() - plain} == chosen
        dense = dataclasses.replace(BASE, reduction=dataclasses.replace(selection, budget=1))
        assert fingerprint_fields(dense, SPEC, "float32").keys() == plain


def test_gaps_count_where_the_dense_model_is_given_no_newlines() -> None:
    whole = [reduction(budget=1, newline="none", positions=p) for p in ("compact", "original")]
    first, second = (digest(dataclasses.replace(BASE, reduction=one)) for one in whole)
    assert first != second


def test_weights_in_eight_bits_count_for_each_half_and_are_named_only_where_they_are() -> None:
    asked = [{}, {"quantize": "int8"}, {"quantize": "fp8"}, {"quantize_vision": "int8"}]
    asked.append({"quantize": "int8", "quantize_vision": "int8"})
    configs = [dataclasses.replace(BASE, model=ModelConfig(**each)) for each in asked]  # type: ignore[arg-type]
    fields = [fingerprint_fields(config, SPEC, "float32") for config in configs]
    assert len(set(map(fingerprint, fields))) == len(asked)
    for given, told in zip(asked, fields, strict=True):
        assert {key: value for key, value in told.items() if "quantize" in key} == given


def test_what_the_model_computes_in_changes_it_however_it_was_chosen() -> None:
    chosen = dataclasses.replace(BASE, model=ModelConfig(dtype="float16"))
    assert digest(BASE, "float16") == digest(chosen, "float16") != digest(BASE)


def test_all_these_differ_from_each_other() -> None:
    selections = [reduction(budget=b, alpha=a) for b in (0.1, 0.2, 2) for a in (0.1, 0.2)]
    assert len({digest(dataclasses.replace(BASE, reduction=s)) for s in selections}) == 6


def test_alpha_counts_where_it_is_used_alone() -> None:
    def found(**chosen: Any) -> str:
        return digest(dataclasses.replace(BASE, reduction=reduction(budget=0.2, **chosen)))

    assert found(method="uniform") == found(method="uniform", alpha=0.3)
    assert found(method="average-pool") == found(method="average-pool", alpha=0.3)
    content: dict[str, Any] = {"method": "uniform", "allocation": "content"}
    assert len({found(method="uniform"), found(**content), found(**content, alpha=0.3)}) == 3


def test_the_published_code_with_and_without_its_transposed_grid_differ() -> None:
    with_it, without = (
        reduction(method="hired-upstream", transposed_grid=flag) for flag in (True, False)
    )
    found = [digest(dataclasses.replace(BASE, reduction=s)) for s in (with_it, without)]
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"run": RunConfig(batch_size=3)},
        {"duplicates": DuplicatesConfig(duplicates="copy")},
        {"generation": GenerationSettings(generation_timeout_sec=None)},
        {"output": OutputConfig(output="elsewhere", rows_per_part=7, max_error_rate=0.5)},
        {"input": InputConfig(input=["b", "c"], limit=5, input_root="/")},
        {"input": InputConfig(input=["a"], decode_timeout_sec=1.0, max_decode_mib=1)},
        {"input": InputConfig(input=["a"], truncated="accept")},
        {"run": RunConfig(placement="split", torch_threads=3, gpu_hour_price=1.0, progress=False)},
        {"reduction": reduction(budget=None)},  # 0.2 by default
        {"reduction": reduction(budget=0.2, newline="none")},  # what auto comes to
    ],
)
def test_what_changes_no_caption_leaves_it(changed: dict[str, Any]) -> None:
    assert digest(dataclasses.replace(BASE, **changed)) == digest(BASE)


def test_methods_that_come_to_the_dense_model_are_one() -> None:
    dense = dataclasses.replace(BASE, reduction=reduction(method="dense"))
    at_one = dataclasses.replace(BASE, reduction=reduction(budget=1, method="stride"))
    skipping = dataclasses.replace(BASE, reduction=reduction(budget=1, skip_below=8))
    assert digest(dense) == digest(at_one) == digest(skipping)


def test_it_is_sixteen_hex_digits_and_does_not_depend_on_the_order_of_fields() -> None:
    fields = fingerprint_fields(BASE, SPEC, "float32")
    assert fingerprint(dict(reversed(fields.items()))) == fingerprint(fields)
    assert len(bytes.fromhex(fingerprint(fields))) == 8


@pytest.fixture
def checkpoint(small_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_checkpoint, tmp_path / "copy"))


def test_a_copy_of_a_checkpoint_has_the_same_digest(
    small_checkpoint: Path, checkpoint: Path
) -> None:
    (checkpoint / "README.md").write_text("no part of the model")
    assert weights_digest(checkpoint) == weights_digest(small_checkpoint)


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"],
)
def test_every_file_that_shapes_a_text_counts(checkpoint: Path, name: str) -> None:
    before = weights_digest(checkpoint)
    with (checkpoint / name).open("a") as file:
        file.write(" ")
    assert weights_digest(checkpoint) != before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_retrained_weights_count_wherever_they_lie(tmp_path: Path, share: float) -> None:
    """One layer's worth in the middle of a file, the rest frozen."""
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    content = bytearray(24 * 2**20)
    weights.write_bytes(content)
    before = weights_digest(tmp_path)
    start = int(share * len(content))
    content[start : start + 2**20] = b"\x01" * len(content[start : start + 2**20])
    weights.write_bytes(content)
    assert weights_digest(tmp_path) != before
