"""The table of dense parity in docs/models.md: `python -m tests.support.parity`.

Each family's tiny checkpoint of random weights, greedy and dense: how many texts of each backend
are those of transformers' `generate`, token for token. What is counted is written to
results/parity.json, from which the page's table is made; the house's tests compare the two.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from hired_core.backends.reference import ReferenceBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from tests.support.docs import ROOT, write
from tests.support.families import BUILDERS, OWN_FORMAT, original_of
from tests.support.family_checks import DENSE, shared_requests
from tests.support.halves import Halves, picture, slot_backend

FOUND: Final = ROOT / "results" / "parity.json"
SUBJECTS: Final = dict(sorted((BUILDERS | OWN_FORMAT).items()))
SIZES: Final = [(56, 56), (200, 300), (340, 170), (31, 47), (150, 480), (260, 250)]
PROMPTS: Final = ["Describe the image.", "What?", "Read the text, please."] * 2
NEW: Final = GenerationSettings(max_new_tokens=8)
WAYS: Final = {"singly": "one by one", "batched": "in one batch", "questions": "three questions"}
BACKENDS: Final = ("slots", "reference")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """How many texts are compared in each way, how many differ from one another, and of each
    backend how many are transformers' own."""
    halves, original = Halves(SUBJECTS[name](folder, seed=5)), original_of(folder)
    images = [picture(*size) for size in SIZES]
    texts = [halves.template.render(prompt) for prompt in PROMPTS]
    new = NEW.max_new_tokens
    singly = [original.generate([i], [t], new)[0][0] for i, t in zip(images, texts, strict=True)]
    asked = [original.generate([images[1]], [text], new)[0][0] for text in texts[:3]]
    requests = halves.requests(images, PROMPTS, DENSE, "all")
    shared = shared_requests(halves, images[1], PROMPTS[:3])
    expected = {"singly": singly, "batched": original.generate(images, texts, new)[0]}
    given = {"singly": [[each] for each in requests], "batched": [requests]}
    expected["questions"], given["questions"] = asked, [shared]
    return {
        way: {"texts": len(expected[way]), "distinct": len(set(map(tuple, expected[way])))}
        | {
            backend: _alike(expected[way], _generate(halves, backend, given[way]))
            for backend in BACKENDS
        }
        for way in WAYS
    }


def _generate(halves: Halves, backend: str, batches: Sequence[list[Request]]) -> list[list[int]]:
    """Token ids; each batch by an engine of its own."""
    found = []
    for requests in batches:
        if backend == "slots":
            completions = slot_backend(halves.language, requests, NEW).generate(requests)
        else:
            reference = ReferenceBackend(halves.language, NEW, batch_size=len(requests))
            completions = reference.generate(requests)
        found += [completion.token_ids for completion in completions]
    return found


def _alike(expected: Sequence[list[int]], found: Sequence[list[int]]) -> int:
    return sum(one == other for one, other in zip(expected, found, strict=True))


def parity_table(found: dict[str, Any]) -> str:
    """Rows are families; a cell is how many texts are alike, of how many."""
    heads = [f"{way}, `{backend}`" for way in WAYS.values() for backend in BACKENDS]
    lines = [f"| family | {' | '.join(heads)} |", f"|{'---|' * (1 + len(heads))}"]
    for name, ways in found["families"].items():
        cells = [f"{ways[w][b]} of {ways[w]['texts']}" for w in WAYS for b in BACKENDS]
        family, comma, form = name.partition(",")
        lines.append(f"| `{family}`{comma}{form} | {' | '.join(cells)} |")
    told = f"transformers {found['transformers']}, torch {found['torch']}, float32 on a CPU."
    return "\n".join([*lines, "", told])


def main() -> None:
    torch.set_num_threads(1)
    families = {}
    for name in SUBJECTS:
        with tempfile.TemporaryDirectory() as folder:
            families[name] = measure(name, Path(folder) / "model")
        print(name, json.dumps(families[name]), flush=True)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    found = {**versions, "families": families}
    FOUND.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write(ROOT / "docs/models.md", "parity", parity_table(found))


if __name__ == "__main__":
    main()
