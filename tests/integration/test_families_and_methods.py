"""Another family, a method that merges, one inside the language model: through the whole job.

Texts are those of `hired_core.load` with the same settings, which other tests hold against
transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hired_core
from hired_core import GenerationSettings, ReductionSettings
from hired_core.geometry.base import Geometry
from hired_core.methods.registry import METHODS
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import Result, answer, caption
from tests.support.bad_images import encode
from tests.support.checkpoints import (
    build_idefics3,
    build_llava,
    build_onevision,
    build_qwen2_vl,
    build_qwen3_vl,
)
from tests.support.halves import picture
from tests.support.models import load_spec

pytestmark = pytest.mark.usefixtures("cluster")

SIZES = {"a.png": (200, 300), "b.png": (340, 170), "c.png": (150, 480)}
NEW = GenerationSettings(max_new_tokens=8)
PROMPT = "Describe the image."
NOT_EXACT = {"hired-upstream", "average-pool", "grid-downsample", "token-packing"}
"""Of these the image decides how many tokens fit the budget."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, size in SIZES.items():
        (folder / name).write_bytes(encode(picture(*size), "PNG"))
    return folder


def expected(
    images: Path, model: str, settings: ReductionSettings, **options: Any
) -> dict[str, str]:
    vlm = hired_core.load(model, settings=settings, generation=NEW, **options)
    said = vlm.caption([images / name for name in SIZES], PROMPT)
    return {name: each.text for name, each in zip(SIZES, said, strict=True)}


def through_the_job(images: Path, output: Path, settings: ReductionSettings, *flags: str) -> Result:
    """The job's captions are those of `hired_core.load`; a rerun finds nothing to do, another
    budget is refused."""
    found = caption([str(images)], output, *flags)
    assert found.exit_code == EXIT_DONE
    assert found.texts() == expected(images, "embedded", settings)
    again = caption([str(images)], output, *flags)
    assert again.exit_code == EXIT_DONE and again.report["run_id"] == found.report["run_id"]
    assert verify([str(output)]) == EXIT_DONE
    assert caption([str(images)], output, *flags, "--budget", "0.3").exit_code == EXIT_BAD_CONFIG
    return found


@pytest.mark.parametrize("name", [name for name in METHODS if name != "dense"])
def test_every_method_through_the_job(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    flags = ["--method", name, "--budget", "0.2"]
    settings = ReductionSettings(method=name, budget=0.2)
    found = through_the_job(images, tmp_path / "out", settings, *flags)
    assert {row["method"] for row in found.captions} == {name}
    kept = {row["visual_tokens_kept"] for row in found.captions}
    assert max(kept) <= 144 and (kept == {144} or name in NOT_EXACT)
    capsys.readouterr()
    wrong = caption([str(images)], tmp_path / "other", *flags, "--method-options", "mine=1")
    assert wrong.exit_code == EXIT_BAD_CONFIG
    assert f"mine: no option of method {name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "settings", "kept"),
    [
        (
            ["--method", "sparsevlm", "--budget", "0.2", "--method-options", "profile=96"],
            {"method": "sparsevlm", "budget": 0.2, "method_options": {"profile": 96}},
            144,
        ),
        (
            ["--budget", "0.4", "--llm-method", "fastv", "--llm-budget", "0.1"],
            {"budget": 0.4, "llm_method": "fastv", "llm_budget": 0.1},
            72,
        ),
        (
            ["--method", "scope", "--method-options", "allocation=content", "--alpha", "0.2"],
            {"method": "scope", "method_options": {"allocation": "content"}, "alpha": 0.2},
            144,
        ),
    ],
)
def test_options_and_combinations_through_the_job(
    images: Path, tmp_path: Path, flags: list[str], settings: dict[str, Any], kept: int
) -> None:
    chosen = ReductionSettings(**settings)
    found = through_the_job(images, tmp_path / "out", chosen, *flags)
    assert {row["visual_tokens_kept"] for row in found.captions} == {kept}
    assert {row["method"] for row in found.captions} == {chosen.method_names}


@pytest.mark.parametrize(
    ("build", "budget", "counts"),
    [
        pytest.param(build_llava, 0.5, {(8, 16)}, id="one square"),
        # Named tiles of merged patches, 4 tokens each: a fifth of 17 * 4.
        pytest.param(build_idefics3, 0.2, {(13, 52), (13, 36)}, id="tiles"),
        # The unmodified model resizes the tokens of all of them.
        pytest.param(build_onevision, 1, None, id="resized tokens"),
    ],
)
def test_another_family_through_the_job(
    images: Path,
    tmp_path: Path,
    build: Callable[..., Path],
    budget: float,
    counts: set[tuple[int, int]] | None,
) -> None:
    folder = str(build(tmp_path / "model", seed=5))
    flags = ["--model", folder, "--budget", str(budget), "--prompt", PROMPT]
    found = caption([str(images)], tmp_path / "out", *flags)
    assert found.exit_code == EXIT_DONE
    assert found.texts() == expected(images, folder, ReductionSettings(budget=budget))
    tokens = {(r["visual_tokens_kept"], r["visual_tokens_dense"]) for r in found.captions}
    geometry = load_spec(folder).geometry
    assert tokens == (counts or {(n, n) for n in _dense(geometry)})
    assert {r["num_partitions"] for r in found.captions} == {
        geometry.layout(*size).num_partitions for size in SIZES.values()
    }
    assert verify([str(tmp_path / "out")]) == EXIT_DONE


@pytest.mark.parametrize(
    ("build", "method", "most"),
    [(build_qwen2_vl, "distinct", 60), (build_qwen3_vl, "divprune", 45)],
)
def test_native_resolution_through_the_job(
    images: Path, tmp_path: Path, build: Callable[..., Path], method: str, most: int
) -> None:
    """A third of each image's own tokens, of at most 60 and 45 tokens; rows travel before the
    projector and behind it."""
    folder = str(build(tmp_path / "model", seed=5))
    size = 28 if build is build_qwen2_vl else 32
    options = {"max_pixels": most * size**2}
    flags = ["--model", folder, "--budget", "0.34", "--method", method]
    flags += ["--image-options", json.dumps(options)]
    found = caption([str(images)], tmp_path / "out", *flags)
    assert found.exit_code == EXIT_DONE
    settings = ReductionSettings(method=method, budget=0.34)
    assert found.texts() == expected(images, folder, settings, image_options=options)
    for row in found.captions:
        kept, dense = row["visual_tokens_kept"], row["visual_tokens_dense"]
        assert 0.5 * most < dense <= most and kept == int(0.34 * dense)
        assert row["num_partitions"] == len(row["partition_budgets"])
        assert row["partition_budgets"][0] == 0 and sum(row["partition_budgets"]) == kept
    assert verify([str(tmp_path / "out")]) == EXIT_DONE


def _dense(geometry: Geometry) -> set[int]:
    layouts = [geometry.layout(*size) for size in SIZES.values()]
    assert all(layout.shrunk is not None for layout in layouts)
    return {layout.num_dense for layout in layouts}


def test_a_method_inside_needs_the_engine(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--method", "fastv", "--backend", "reference"]
    assert caption([str(images)], tmp_path / "out", *flags).exit_code == EXIT_BAD_CONFIG
    assert "backend: reference cannot drop tokens between layers" in capsys.readouterr().err


def test_options_of_a_method_are_told_by_name(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--method", "average-pool", "--method-options", '{"alpha": 0.1}']
    assert answer([str(images)], tmp_path / "out", *flags).exit_code == EXIT_BAD_CONFIG
    assert "alpha: no option of method average-pool; it has projected" in capsys.readouterr().err
