"""Another family, a method that merges, one inside the language model: through the whole job.

Texts are those of `hired_core.load` with the same settings, which other tests hold against
transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hired_core
from hired_core import GenerationSettings, ReductionSettings
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import answer, caption
from tests.support.bad_images import encode
from tests.support.checkpoints import build_llava
from tests.support.halves import picture

pytestmark = pytest.mark.usefixtures("cluster")

SIZES = {"a.png": (200, 300), "b.png": (340, 170), "c.png": (150, 480)}
NEW = GenerationSettings(max_new_tokens=8)
PROMPT = "Describe the image."


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, size in SIZES.items():
        (folder / name).write_bytes(encode(picture(*size), "PNG"))
    return folder


def expected(images: Path, model: str, settings: ReductionSettings) -> dict[str, str]:
    vlm = hired_core.load(model, settings=settings, generation=NEW)
    said = vlm.caption([images / name for name in SIZES], PROMPT)
    return {f".#{name}": each.text for name, each in zip(SIZES, said, strict=True)}


@pytest.mark.parametrize(
    ("flags", "settings", "kept"),
    [
        (
            ["--method", "average-pool", "--budget", "0.1"],
            {"method": "average-pool", "budget": 0.1},
            {45, 48, 64},
        ),
        (["--method", "fastv", "--budget", "0.2"], {"method": "fastv", "budget": 0.2}, {144}),
        (
            ["--method", "sparsevlm", "--budget", "0.2", "--method-options", "profile=96"],
            {"method": "sparsevlm", "budget": 0.2, "method_options": {"profile": 96}},
            {144},
        ),
        (
            ["--budget", "0.4", "--llm-method", "fastv", "--llm-budget", "0.1"],
            {"budget": 0.4, "llm_method": "fastv", "llm_budget": 0.1},
            {72},
        ),
    ],
)
def test_methods_through_the_job(
    images: Path, tmp_path: Path, flags: list[str], settings: dict[str, Any], kept: set[int]
) -> None:
    found = caption([str(images)], tmp_path / "out", *flags)
    assert found.exit_code == EXIT_DONE
    assert found.texts() == expected(images, "embedded", ReductionSettings(**settings))
    assert {row["visual_tokens_kept"] for row in found.captions} <= kept
    name = settings.get("method", "hired") + ("+fastv" if "llm_method" in settings else "")
    assert {row["method"] for row in found.captions} == {name}
    # Run again, nothing is left to do; with an option changed it is refused.
    again = caption([str(images)], tmp_path / "out", *flags)
    assert again.exit_code == EXIT_DONE and again.report["run_id"] == found.report["run_id"]
    assert verify([str(tmp_path / "out")]) == EXIT_DONE
    other = caption([str(images)], tmp_path / "out", *flags, "--budget", "0.3")
    assert other.exit_code == EXIT_BAD_CONFIG


def test_another_family_through_the_job(images: Path, tmp_path: Path) -> None:
    folder = str(build_llava(tmp_path / "llava", seed=5))
    flags = ["--model", folder, "--budget", "0.5", "--prompt", PROMPT]
    found = caption([str(images)], tmp_path / "out", *flags)
    assert found.exit_code == EXIT_DONE
    assert found.texts() == expected(images, folder, ReductionSettings(budget=0.5))
    assert {(r["visual_tokens_kept"], r["visual_tokens_dense"]) for r in found.captions} == {
        (8, 16)
    }
    assert {r["num_partitions"] for r in found.captions} == {1}
    assert verify([str(tmp_path / "out")]) == EXIT_DONE


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
