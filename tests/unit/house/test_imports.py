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
        "geometry.sequence", "transfer", "methods.hired_upstream", "vision.tower",
        "models.checkpoint", "geometry.spec", "models.registry", "vlm.settings",
        "vlm.language_half",
    ]  # fmt: skip
    loaded = modules_after("hired_core", *(f"hired_core.{name}" for name in plain))
    assert "torch" in loaded  # the probe sees something
    assert not loaded & {"ray", "transformers", "pipeline", "jobs"}


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
    assert hired_core.__all__ == sorted(hired_core.__all__) == sorted(hired_core._HOMES)
    for name, home in hired_core._HOMES.items():
        module = importlib.import_module(f"hired_core.{home}")
        assert getattr(hired_core, name) is getattr(module, name)
        assert name in vars(module) and getattr(module, name).__module__ == module.__name__
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        hired_core.no_such_name  # noqa: B018
