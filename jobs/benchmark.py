"""`make bench`: images/s and truth of transformers and of this engine, interleaved."""

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
    truth,
)
from pipeline.evaluation.gallery import load_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=64, help="distinct sample images used")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each contestant")
    parser.add_argument("--max-new-tokens", type=int, default=32, help="tokens generated at most")
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "benchmark.json")
    options = parser.parse_args()
    setting = Setting(max_new_tokens=options.max_new_tokens)
    samples = list(load_samples(ROOT / "samples").values())[: options.num_images]
    images = [sample.image for sample in samples]
    contestants = {
        f"transformers dense, batch {setting.batch_size}": transformers_dense(setting),
        **{f"ours, budget {budget:g}": ours(setting, budget) for budget in (1.0, 0.4, 0.2, 0.1)},
    }
    rates = run_benchmark(
        contestants, images, batch_size=setting.batch_size, repeats=options.repeats
    )
    f1 = {
        name: truth(contestant, samples, batch_size=setting.batch_size)
        for name, contestant in contestants.items()
    }
    summary = summarise(rates, f1)
    print(table(summary))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"setting": vars(setting), "environment": environment(), "summary": summary}
    raw = content | {"num_images": len(images), "images_per_sec": rates}
    options.output.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
