"""Every family from image files to captions through the whole job, and what users do with them.

A tiny checkpoint of random weights each; texts are those of `hired_core.load`, which other tests
hold against transformers. The embedded model is of llava_next, and what all other tests run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import hired_core
from hired_core import GenerationSettings, ReductionSettings
from hired_core.models.registry import FAMILIES
from lab.evaluation.command import main as evaluate
from lab.evaluation.page.command import main as explain
from pipeline.rows.errors import EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import Result, caption
from tests.support.bad_images import encode
from tests.support.families import BUILDERS, OWN_FORMAT
from tests.support.halves import picture
from tests.support.models import load_spec

pytestmark = pytest.mark.usefixtures("cluster")

SIZES = {"a.png": (200, 300), "b.png": (340, 170), "c.png": (150, 480)}
BUILDS = BUILDERS | OWN_FORMAT
NEW = GenerationSettings(max_new_tokens=8)
PROMPT = "Describe the image."


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a family's images are captioned.

    Attributes:
        options: image options; of families of native resolution their most pixels.
        eight: halves whose weights are stored in eight bits.
        counts: (tokens kept, tokens dense) that images have, where the sizes alone tell.
    """

    budget: float
    method: str = "hired"
    options: dict[str, int] = field(default_factory=dict)
    counts: frozenset[tuple[int, int]] = frozenset()
    eight: dict[str, Any] = field(default_factory=dict)


CASES = {
    "llava": Case(budget=0.5, counts=frozenset({(8, 16)})),
    # Padded: of 16 tokens 16, 8 and 8 show some of the image. The tower is a folder beside.
    "llava, LLaVA's own format": Case(budget=0.7, counts=frozenset({(11, 16), (8, 16)})),
    # Named tiles of merged patches, 4 tokens each: a fifth of 17 * 4.
    "idefics3": Case(budget=0.2, counts=frozenset({(13, 52), (13, 36)})),
    "smolvlm": Case(budget=0.2, method="distinct", counts=frozenset({(13, 52), (13, 36)})),
    # Tiles by aspect ratio with a thumbnail: a third of 13 * 4.
    "internvl": Case(budget=0.34, eight={"quantize": "int8", "quantize_vision": "fp8"}),
    # The unmodified model resizes the tokens of all of them.
    "llava_onevision": Case(budget=1),
    # A third of each image's own tokens, of at most 60 and 45; rows travel before the projector and
    # behind it.
    "qwen2_vl": Case(budget=0.34, method="distinct", options={"max_pixels": 60 * 28**2}),
    "qwen2_5_vl": Case(budget=0.34, options={"max_pixels": 60 * 28**2}),
    "qwen3_vl": Case(budget=0.34, method="divprune", options={"max_pixels": 45 * 32**2}),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, size in SIZES.items():
        (folder / name).write_bytes(encode(picture(*size), "PNG"))
    return folder


def test_no_family_is_left_out() -> None:
    assert FAMILIES.keys() == BUILDERS.keys() == {"llava_next", *CASES} - OWN_FORMAT.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_family_through_the_job(images: Path, tmp_path: Path, name: str) -> None:
    case, folder = CASES[name], str(BUILDS[name](tmp_path / "model", seed=5))
    output, flags = tmp_path / "out", _flags(case, folder)
    found = caption([str(images)], output, *flags, "--prompt", PROMPT)
    assert found.exit_code == EXIT_DONE
    assert found.texts() == _expected(images, case, folder)
    _check_counts(found, case, folder)
    # A rerun finds nothing to do, and the output is whole.
    again = caption([str(images)], output, *flags, "--prompt", PROMPT)
    assert again.exit_code == EXIT_DONE and again.report["run_id"] == found.report["run_id"]
    assert verify([str(output)]) == EXIT_DONE
    _look_at(images, tmp_path, case, folder)


def _flags(case: Case, folder: str) -> list[str]:
    flags = ["--model", folder, "--budget", str(case.budget), "--method", case.method]
    for key, kind in case.eight.items():
        flags += [f"--{key.replace('_', '-')}", kind]
    return [*flags, "--image-options", json.dumps(case.options)] if case.options else flags


def _expected(images: Path, case: Case, folder: str) -> dict[str, str]:
    settings = ReductionSettings(method=case.method, budget=case.budget)
    options = case.eight | ({"image_options": case.options} if case.options else {})
    vlm = hired_core.load(folder, settings=settings, generation=NEW, **options)
    said = vlm.caption([images / name for name in SIZES], PROMPT)
    return {name: each.text for name, each in zip(SIZES, said, strict=True)}


def _check_counts(found: Result, case: Case, folder: str) -> None:
    """Tokens and partitions told of each row are those of the family's geometry."""
    geometry = load_spec(folder, image_options=case.options).geometry
    layouts = {name: geometry.layout(*size) for name, size in SIZES.items()}
    for row in found.captions:
        layout = layouts[row["key"]]
        kept, dense = row["visual_tokens_kept"], row["visual_tokens_dense"]
        assert dense == layout.num_dense and row["num_partitions"] == layout.num_partitions
        assert sum(row["partition_budgets"]) == kept <= dense
        if case.options:
            assert kept == int(case.budget * dense) and row["partition_budgets"][0] == 0
        if case.budget == 1:
            assert kept == dense and layout.shrunk is not None
    if case.counts:
        tokens = {(r["visual_tokens_kept"], r["visual_tokens_dense"]) for r in found.captions}
        assert tokens == case.counts


def _look_at(images: Path, tmp_path: Path, case: Case, folder: str) -> None:
    """The page of kept tokens, and an evaluation, as their commands make them."""
    more = ["--image-options", json.dumps(case.options)] if case.options else []
    page = tmp_path / "page.html"
    asked = [str(images / "a.png"), "--model", folder, "--methods", "hired", "--budgets", "0.3"]
    assert explain([*asked, *more, "--page", str(page)]) == EXIT_DONE
    assert "hired" in page.read_text() and page.stat().st_size > 10_000
    output = tmp_path / "evaluation"
    asked = ["--output", str(output), "--model", folder, "--methods", "hired", "--budgets", "0.3"]
    asked += ["--num-samples", "2", "--max-new-tokens", "4", "--no-progress", "--tasks", "count"]
    assert evaluate([*asked, *more]) == EXIT_DONE
    assert json.loads((output / "results.json").read_text())
