"""What importing the core pulls in, and what it exports."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hired_core

ROOT = Path(hired_core.__file__).parents[1]


def modules_after(*names: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter after importing `names`."""
    code = (
        f"import sys, json, {', '.join(names)}; "
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return set(json.loads(output.stdout.splitlines()[-1]))


def test_core_needs_neither_ray_nor_transformers_nor_the_pipeline() -> None:
    plain = [
        "vision.attention", "methods.budget", "images.decode", "vlm.vision_half",
        "vision.encoder_layer", "language.model", "geometry.layout", "methods.registry",
        "images.partition", "language.prompts", "methods.scores", "methods.selection",
        "geometry.sequence", "transfer", "methods.pre_llm.attention.hired", "vision.tower",
        "backends.registry",
        "models.checkpoint", "geometry.spec", "models.registry", "vlm.settings",
        "vlm.language_half", "vlm.vlm", "methods.in_llm.fastv", "backends.slots.backend",
    ]  # fmt: skip
    loaded = modules_after("hired_core", *(f"hired_core.{name}" for name in plain))
    assert "torch" in loaded  # the probe sees something
    assert not loaded & {"ray", "transformers", "pipeline", "jobs"}


def test_the_public_face_is_light() -> None:
    """Names are loaded when they are first used."""
    assert not modules_after("hired_core") & {"torch", "PIL", "ray", "transformers", "pipeline"}


def test_stages_need_neither_ray_nor_transformers() -> None:
    """They are loaded in the actor that runs a model, or where there is a cluster."""
    names = ("pipeline.stages.generate", "pipeline.stages.actor", "pipeline.resources.memory")
    loaded = modules_after(*names)
    assert {"torch", "pyarrow"} <= loaded
    assert not loaded & {"ray", "transformers", "lab"}


HEAVY = {"torch", "transformers", "pandas", "scipy", "sympy", "datasets", "duckdb", "matplotlib"}
"""What takes a worker or a command a second or more to import."""


def test_workers_without_a_model_import_little() -> None:
    """Of every job there are some: each takes this time before its first row, on a core of its
    own or another's."""
    reading = ("pipeline.stages.read", "pipeline.stages.partition", "pipeline.stages.guard")
    loaded = modules_after(*reading, "pipeline.isolation.decoder")
    assert {"pyarrow", "fsspec"} <= loaded
    assert not loaded & {*HEAVY, "ray", "lab"}
    beside = modules_after("pipeline.stages.attendant", "pipeline.stages.context")
    assert "pyarrow" in beside and not beside & {*HEAVY, "ray", "lab", "jinja2"}


@pytest.mark.parametrize("words", [["--help"], ["caption", "--help"], ["caption", "--badget", "1"]])
def test_help_and_a_mistyped_flag_import_nothing_that_runs_a_job(words: list[str]) -> None:
    code = (
        "import json, sys\nfrom lab.command import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    run = [sys.executable, "-c", code]
    output = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = set(json.loads(output.splitlines()[-1]))
    assert "pipeline" in loaded
    assert not loaded & {*HEAVY, "ray", "fsspec", "s3fs", "jinja2", "huggingface_hub"}


def test_adapters_need_transformers_but_not_ray() -> None:
    loaded = modules_after("hired_core.models.llava_next")
    assert "transformers" in loaded
    assert not loaded & {"ray", "pipeline"}


def test_decoding_needs_no_torch() -> None:
    """Each worker process starts a child that does nothing else."""
    loaded = modules_after("pipeline.isolation.child")
    assert {"PIL", "numpy", "hired_core", "pipeline"} <= loaded
    assert not loaded & {"torch", "ray", "transformers", "pyarrow"}


def test_all_names_what_the_package_exports() -> None:
    assert hired_core.__all__ == sorted(hired_core.__all__) == sorted([*hired_core._HOMES, "load"])
    assert hired_core.load == hired_core.Vlm.load
    for name, home in hired_core._HOMES.items():
        module = importlib.import_module(f"hired_core.{home}")
        assert getattr(hired_core, name) is getattr(module, name)
        assert name in vars(module) and getattr(module, name).__module__ == module.__name__
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        hired_core.no_such_name  # noqa: B018
