"""`hired explain`: which visual tokens of an image are kept, and what the model then says."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.command_line.manual import program
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from pipeline.rows.words import counted

__all__ = ["main"]

_METHODS: Final = "distinct,hired,uniform,stride,average-pool"
_BUDGETS: Final = "0.05,0.1,0.2,0.4"
_ALL: Final = "all"

_DESCRIPTION: Final = """\
Shows which visual tokens of an image are kept, and what the model then says.

--page writes an HTML page of all images with --methods and --budgets, --picture a picture of the
first image with the first method at --budget. Methods that merge are drawn as the region that each
row sums; of those inside the language model the page says what goes in and how much is left:

  hired explain photo.jpg --model llava-hf/llava-v1.6-vicuna-7b-hf --page out/kept.html
  hired explain 'lab/demo/samples/parquet/samples-00.parquet#11' --picture results/kept-tokens.png
"""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code; errors are one line on stderr."""
    options = _parse(argv)
    # Seconds that help, and a line about a mistyped flag, do not wait for.
    from hired_core.images.decode import ImageError
    from hired_core.models.checkpoint import CheckpointError

    try:
        _explain(options)
    except (CheckpointError, ImageError, ValueError) as exc:
        print(f"explain: {exc}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    return EXIT_DONE


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=program("explain"),
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("images", nargs="+", help="image files, or rows as FILE.parquet#ROW")
    parser.add_argument("--model", default="embedded", help="as of `hired caption`")
    parser.add_argument(
        "--image-options", type=json.loads, default={}, help="as of `hired caption`, as JSON"
    )
    parser.add_argument("--device", default="cpu", help='"cpu" or "cuda"')
    parser.add_argument("--prompt", default="Describe the image.")
    parser.add_argument(
        "--methods", default=_METHODS, help="comma-separated, or all; docs/methods.md lists them"
    )
    parser.add_argument("--budgets", default=_BUDGETS, help="of the page, comma-separated")
    parser.add_argument("--budget", type=float, default=0.2, help="of the picture")
    parser.add_argument("--page", type=Path, help="HTML file to write")
    parser.add_argument("--picture", type=Path, help="PNG file to write")
    found = parser.parse_args(argv)
    if found.page is None and found.picture is None:
        parser.error("give --page, --picture or both")
    return found


def _explain(options: argparse.Namespace) -> None:
    from PIL import Image

    from hired_core.vlm.settings import ReductionSettings
    from lab.evaluation.page.explain import Explainer, read_image

    methods = _methods(options.methods)
    images = {name: read_image(name) for name in options.images}
    explainer = Explainer(options.model, device=options.device, image_options=options.image_options)
    if options.page is not None:
        budgets = [float(text) for text in options.budgets.split(",")]
        settings = [ReductionSettings(method=m, budget=b) for m in methods for b in budgets]
        settings.append(ReductionSettings(method="dense", budget=1.0))
        html = explainer.page(images, options.prompt, settings)
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(html, encoding="utf-8")
        print(
            f"wrote {options.page}: {counted(len(images), 'image')}, {len(methods)} methods, to be "
            "opened in a browser"
        )
    if options.picture is not None:
        settings_shown = ReductionSettings(method=methods[0], budget=options.budget)
        picture = explainer.picture(next(iter(images.values())), options.prompt, settings_shown)
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        # Half the size or less, at no difference that shows.
        picture.quantize(256, Image.Quantize.FASTOCTREE).save(options.picture, optimize=True)
        print(
            f"wrote {options.picture}: {next(iter(images))} with {methods[0]} at a budget of "
            f"{options.budget:g}"
        )


def _methods(text: str) -> list[str]:
    """But for the dense model, which every page has."""
    from hired_core.methods.registry import METHODS

    chosen = list(METHODS) if text == _ALL else [name.strip() for name in text.split(",")]
    found = [name for name in chosen if name and name != "dense"]
    if not found:
        raise ValueError("--methods names none but the dense model, which is always shown")
    return found
