"""`make bench`: images/s of transformers and of this engine, interleaved, with ratios."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.benchmark import (
    Setting,
    environment,
    ours,
    run_benchmark,
    summarise,
    table,
    transformers_dense,
)
from pipeline.evaluation.gallery import load_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=32, help="distinct sample images used")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each contestant")
    parser.add_argument("--max-new-tokens", type=int, default=32, help="tokens generated at most")
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "benchmark.json")
    options = parser.parse_args()
    setting = Setting(max_new_tokens=options.max_new_tokens)
    images = [s.image for s in load_samples(ROOT / "samples").values()][: options.num_images]
    contestants = {
        f"transformers dense, batch {setting.batch_size}": transformers_dense(setting),
        **{f"ours, budget {budget:g}": ours(setting, budget) for budget in (1.0, 0.4, 0.2)},
    }
    rates = run_benchmark(
        contestants, images, batch_size=setting.batch_size, repeats=options.repeats
    )
    summary = summarise(rates)
    print(table(summary))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"setting": vars(setting), "environment": environment(), "summary": summary}
    raw = content | {"num_images": len(images), "images_per_sec": rates}
    options.output.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
