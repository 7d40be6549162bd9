"""Shows which visual tokens of an image are kept, and what the model then says.

`--page` writes an HTML page of all images with every method and budget, `--picture` the README's
picture of the first image at `--budget`:

    python jobs/explain.py photo.jpg --model llava-hf/llava-v1.6-vicuna-7b-hf --page out/kept.html
    python jobs/explain.py 'samples/parquet/samples-00.parquet#11' --picture results/kept-tokens.png
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from PIL import Image

from hired_core.images.decode import ImageError
from hired_core.models.checkpoint import CheckpointError
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.page.explain import Explainer, read_image

METHODS = ("hired", "uniform", "stride", "random")
BUDGETS = (0.05, 0.1, 0.2, 0.4)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", help="image files, or rows as FILE.parquet#ROW")
    parser.add_argument("--model", default="embedded", help="as of jobs/caption.py")
    parser.add_argument("--device", default="cpu", help='"cpu" or "cuda"')
    parser.add_argument("--prompt", default="Describe the image.")
    parser.add_argument("--budget", type=float, default=0.2, help="of the picture")
    parser.add_argument("--page", type=Path, help="HTML file to write")
    parser.add_argument("--picture", type=Path, help="PNG file to write")
    found = parser.parse_args(arguments)
    if found.page is None and found.picture is None:
        parser.error("give --page, --picture or both")
    return found


def explain(options: argparse.Namespace) -> None:
    images = {name: read_image(name) for name in options.images}
    explainer = Explainer(options.model, device=options.device)
    if options.page is not None:
        settings = [ReductionSettings(method=m, budget=b) for m in METHODS for b in BUDGETS]
        settings.append(ReductionSettings(method="dense", budget=1.0))
        html = explainer.page(images, options.prompt, settings)
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(html, encoding="utf-8")
    if options.picture is not None:
        settings_shown = ReductionSettings(budget=options.budget)
        picture = explainer.picture(next(iter(images.values())), options.prompt, settings_shown)
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        # Half the size or less, at no difference that shows.
        picture.quantize(256, Image.Quantize.FASTOCTREE).save(options.picture, optimize=True)


def main(arguments: list[str] | None = None) -> int:
    try:
        explain(parse(arguments))
    except (CheckpointError, ImageError, ValueError) as exc:
        print(f"explain: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
