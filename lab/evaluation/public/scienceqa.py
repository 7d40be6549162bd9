"""ScienceQA: school questions with lettered options, those that have an image.

The schema is that of `lmms-lab/ScienceQA`, configurations ScienceQA-IMG and ScienceQA-FULL, and of
`derek-thomas/ScienceQA`; it was not tried on the real files. About half of all questions have no
image: they are left out and counted. There are no image ids: images are told apart by their bytes.
"""

from __future__ import annotations

from string import ascii_uppercase

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import Row, image_digest, text_in

__all__ = ["SCIENCEQA"]

_INSTRUCTION = "Answer with the option's letter from the given choices directly."


def _prompt(row: Row) -> str:
    """Context if there is one, question, options, instruction: a line each."""
    context = [f"Context: {row['hint']}"] if row["hint"] else []
    options = [
        f"{letter}. {choice}"
        for letter, choice in zip(ascii_uppercase, row["choices"], strict=False)
    ]
    return "\n".join([*context, text_in(row, "question"), *options, _INSTRUCTION])


def _letter(row: Row) -> tuple[str]:
    index, num_choices = row["answer"], len(row["choices"])
    if index is None or not 0 <= index < num_choices:
        raise ValueError(f"answer is {index}, with {num_choices} choices")
    return (ascii_uppercase[index],)


SCIENCEQA = Benchmark(
    name="scienceqa",
    description="school questions with lettered options, those with an image (accuracy)",
    columns=("image", "question", "choices", "answer", "hint"),
    details=("subject", "topic", "category", "grade"),
    image_id=image_digest,
    prompt=_prompt,
    answers=_letter,
)
