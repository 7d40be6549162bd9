"""Every method, before the language model and inside it: through the whole job.

Texts are those of `hired_core.load` with the same settings, which other tests hold against
transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hired_core
from hired_core import GenerationSettings, ReductionSettings
from hired_core.methods.registry import METHODS
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import Result, answer, caption
from tests.support.bad_images import encode
from tests.support.halves import picture

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
