"""The benchmark on a tiny model: both sides do the same work, and no Ray is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torchao.quantization import Float8Tensor, Int8Tensor

from hired_core.choices import Quantization
from lab.benchmark.contestants.baseline import TransformersDense
from lab.benchmark.contestants.captioner import Captioner
from lab.benchmark.contestants.models import PRESETS, write_preset
from lab.benchmark.contestants.registry import batch_sizes, chosen, end_to_end
from lab.benchmark.contestants.subject import Setting, Subject, prepared
from lab.benchmark.images import make_images
from lab.benchmark.options import parse
from lab.benchmark.roofline.bounds import roofline
from lab.benchmark.run import run
from lab.demo import SAMPLES
from pipeline.rows.errors import ConfigError
from tests.support.checkpoints import build_checkpoint
from tests.support.qwen_checkpoints import build_qwen2_vl

ROOT = Path(__file__).parents[4]

WITHOUT_RAY = """
import sys
class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ImportError("no ray here")
sys.meta_path.insert(0, NoRay())
from lab.benchmark.run import run
from lab.benchmark.contestants import baseline, captioner
from lab.benchmark.measurements import memory
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("tiny"), seed=4)


@pytest.mark.parametrize("build", [build_checkpoint, build_qwen2_vl])
def test_the_dense_contestants_say_the_same(tmp_path: Path, build: Callable[..., Path]) -> None:
    """Otherwise the ratio would compare different work."""
    subject = Subject(Setting(model=str(build(tmp_path, seed=4)), max_new_tokens=6))
    images = make_images(5, width=112, height=112)
    theirs = TransformersDense(subject, batch_size=2)
    ours = Captioner(subject, budget=1.0, batch_size=2)
    theirs.open()
    ours.open()
    expected, found = theirs(images), ours(images)
    assert [a.token_ids for a in found] == [a.token_ids for a in expected]
    assert len({tuple(a.token_ids) for a in found}) == 5
    for each in (*expected, *found):
        assert min(each.ttft_sec, each.vision_sec, each.prefill_sec) > 0
        assert each.decode_sec > 0 or len(each.token_ids) < 2


def test_weights_in_eight_bits_are_this_engines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that is made here, whose weights both sides share otherwise."""
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    sizes = small | {"num_attention_heads": 2}
    made = replace(PRESETS["44m"], vision=sizes, text=sizes, on_disk=False)
    monkeypatch.setitem(PRESETS, "made-here", made)
    eight = Quantization(decoder="int8", vision="fp8")
    with prepared(Setting(model="made-here", quantization=eight)) as setting:
        subject = Subject(setting)
        decoder, own = subject.language.decoder, subject.original.model.language_model
        tower, theirs = subject.vision, subject.original.model.vision_tower
        for index in range(2):
            mine, kept = decoder.model.layers[index].mlp.up_proj, own.layers[index].mlp.up_proj
            assert isinstance(mine.weight, Int8Tensor) and type(kept.weight) is nn.Parameter
            torch.testing.assert_close(mine.weight.dequantize(), kept.weight, atol=4e-3, rtol=0)
        query = tower.layers[0].self_attn.q_proj.weight
        assert isinstance(query, Float8Tensor)
        inner = getattr(theirs, "vision_model", theirs).encoder.layers[0].self_attn.q_proj.weight
        assert type(inner) is nn.Parameter
        contestant = Captioner(subject, budget=0.2)
        contestant.open()
        (answer,) = contestant(make_images(1, width=336, height=336))
        assert len(answer.token_ids) == 16
        with pytest.raises(ValueError, match=r"^parts: roofline counts weights as the model comp"):
            roofline(subject, [], {})


def test_images_are_distinct_and_the_same_every_time() -> None:
    images = make_images(3, width=56, height=56)
    assert len(set(images)) == 3
    assert make_images(3, width=56, height=56) == images
    assert make_images(3, width=56, height=56, seed=1) != images


def test_a_run_writes_figures_environment_and_tables(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    arguments = ["--model", str(tiny), "--num-images", "3", "--repeats", "2", "--budgets", "1,0.2"]
    arguments += ["--max-new-tokens", "3", "--stage-repeats", "2", "--device", "cpu"]
    arguments += ["--parts", "end-to-end,stages,roofline", "--contestants", "batch 8,ours"]
    options = parse([*arguments, "--output", str(output)])
    text = run(options, samples=SAMPLES)
    content = json.loads(output.read_text())
    assert content["environment"]["versions"]["torch"]
    names = ["transformers dense, batch 8", "ours dense", "ours 0.2"]
    assert list(content["end-to-end"]["summary"]) == names
    assert len(content["end-to-end"]["repeats"]) == 2
    for name in names:
        assert name in text
        peak = content["end-to-end"]["summary"][name]["peak_memory_bytes"]
        assert peak == content["end-to-end"]["peaks"][name]["peak_bytes"]
    share = content["stages"]["vision"]["selection_share"]
    assert 0 < share["min"] <= share["max"] < 1
    assert content["roofline"]["contestants"]["ours 0.2"]["prefill"]["share"] > 0
    assert "| ours 0.2 |" in output.with_suffix(".md").read_text()


def test_a_model_of_native_resolution(tmp_path: Path) -> None:
    """Of the preset's kind: from a written checkpoint to the table, at a budget too."""
    small = {"embed_dim": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    text = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    preset = replace(PRESETS["44m-qwen2_vl"], vision=small, text=text | {"intermediate_size": 128})
    write_preset(preset, tmp_path)
    output = tmp_path / "bench.json"
    given = ["--model", str(tmp_path), "--num-images", "2", "--side", "112", "--repeats", "1"]
    given += ["--budgets", "0.5", "--max-new-tokens", "3", "--device", "cpu"]
    given += ["--contestants", "batch 8,ours", "--output", str(output)]
    text_of = run(parse([*given, "--parts", "end-to-end"]), samples=SAMPLES)
    assert "transformers dense, batch 8" in text_of and "ours 0.5" in text_of
    with pytest.raises(ValueError, match=r"stages is of towers that see square partitions"):
        run(parse([*given, "--parts", "end-to-end,stages"]), samples=SAMPLES)


def test_contestants_by_name() -> None:
    names = [entry.name for entry in end_to_end((1.0, 0.2))]
    assert names == [
        "transformers dense, batch 8",
        "transformers dense, batch 1",
        "ours dense",
        "ours 0.2",
    ]
    methods = [entry.name for entry in end_to_end((1.0, 0.2), ("hired", "distinct", "fastv"))]
    assert methods[2:] == ["ours dense", "ours 0.2", "ours 0.2, distinct", "ours 0.2, fastv"]
    table = [entry.name for entry in batch_sizes((1, 4), (0.2,))]
    assert table[-3:] == ["ours 0.2, batch 1", "ours 0.2, batch 4", "ours 0.2"]
    assert [e.name for e in chosen(end_to_end((1.0,)), ["batch 1"])] == names[1:2]
    with pytest.raises(ValueError, match="no contestant 'vllm'"):
        chosen(end_to_end((1.0,)), ["vllm"])


def test_it_needs_no_ray() -> None:
    """A GPU machine may have none."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--parts all", "parts: no part 'all'; there are end-to-end, batches, stages, roofline"),
        ("--methods hired,fastw", "methods: no 'fastw'; there are distinct, hired"),
        ("--budgets 2", "budgets: '2' is out of range; allowed: fractions above 0, and 1 for den"),
        ("--budgets low", "budgets: expected numbers, got 'low'"),
        ("--batch-sizes 0", "batch_sizes: '0' is out of range; allowed: whole numbers above 0"),
        ("--repeats 0", "repeats: 0 is out of range; allowed: 1 or more"),
        ("--device tpu", "device: expected one of 'auto', 'cpu', 'cuda', got 'tpu'"),
        ("--num-image 3", "--num-image: no such setting; did you mean --num-images?"),
    ],
)
def test_what_cannot_be_is_refused(argv: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(argv.split())
    assert str(caught.value).startswith(line)
