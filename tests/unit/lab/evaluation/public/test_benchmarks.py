"""Each public benchmark, read back from a small file in its schema."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from lab.evaluation.public.registry import BENCHMARKS
from lab.evaluation.scoring.registry import metrics_of
from lab.questions import BenchmarkImage
from pipeline.rows.errors import InputError
from tests.support.public_files import TEXTS, drawn, on_hub, write

SHORT = "\nAnswer the question using a single word or phrase."
RED, BLUE, PNG = drawn(250), drawn(20), drawn(99, "PNG")


def read(name: str, path: Path) -> list[BenchmarkImage]:
    images = list(BENCHMARKS[name].reader([path]))
    assert all(question.task == name for image in images for question in image.questions)
    return images


def test_every_benchmark_has_its_metric_and_a_line_about_it():
    assert list(BENCHMARKS) == (
        ["textvqa", "vqav2", "docvqa", "chartqa", "scienceqa", "pope", "mme", "ocrbench"]
    )
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert "image" in benchmark.columns
        assert benchmark.description and "\n" not in benchmark.description
        assert metrics_of(name)


def test_textvqa(tmp_path):
    types = {
        "image_id": pa.string(),
        "question_id": pa.int64(),
        "question": pa.string(),
        "answers": TEXTS,
        "ocr_tokens": TEXTS,
    }
    ten = ["nous", "Nous", *["dakota"] * 8]
    rows = [
        (on_hub(RED), "a1", 34602, "what is the brand of this camera?", ten, ["DAKOTA"]),
        (on_hub(RED), "a1", 34603, "what does the small WHITE text spell?", ten, []),
        (on_hub(PNG), "b2", 34604, "what year?", ["2010"] * 10, []),
    ]
    first, second = read("textvqa", write(tmp_path / "t.parquet", types, rows))
    assert (first.image_id, first.data) == ("a1", RED)
    assert [q.text for q in first.questions] == [
        "What is the brand of this camera?" + SHORT,
        "What does the small white text spell?" + SHORT,
    ]
    assert [q.question_id for q in first.questions] == ["a1/0", "a1/1"]
    assert first.questions[0].answers == tuple(ten)
    assert first.questions[1].details == {"question_id": "34603"}
    assert (second.image_id, second.data) == ("b2", PNG)
    assert Image.open(io.BytesIO(second.data)).format == "PNG"


def test_vqav2(tmp_path):
    person = pa.struct(
        [("answer", pa.string()), ("answer_confidence", pa.string()), ("answer_id", pa.int64())]
    )
    types = {
        "image_id": pa.int64(),
        "question_id": pa.int64(),
        "question": pa.string(),
        "question_type": pa.string(),
        "answer_type": pa.string(),
        "multiple_choice_answer": pa.string(),
        "answers": pa.list_(person),
    }
    people = [
        {"answer": text, "answer_confidence": "yes", "answer_id": number}
        for number, text in enumerate(["down", *["at table"] * 9], start=1)
    ]
    rows = [
        (on_hub(RED), 262148, 262148000, "Where is he?", "where is the", "other", "down", people)
    ]
    (image,) = read("vqav2", write(tmp_path / "v.parquet", types, rows))
    (question,) = image.questions
    assert image.image_id == "262148"
    assert question.text == "Where is he?" + SHORT
    assert question.answers == ("down", *["at table"] * 9)
    assert question.details == {
        "question_id": "262148000",
        "question_type": "where is the",
        "answer_type": "other",
    }


def test_docvqa(tmp_path):
    types = {
        "questionId": pa.string(),
        "question": pa.string(),
        "question_types": TEXTS,
        "docId": pa.int64(),
        "ucsf_document_id": pa.string(),
        "ucsf_document_page_no": pa.string(),
        "answers": TEXTS,
    }
    rows = [
        (on_hub(PNG), "49153", "What is shown?", ["figure", "form"], 1, "pybv0228", "81", ["A"]),
        (on_hub(RED), "49154", "Who?", ["form"], 1, "pybv0228", "82", ["ITC", "I.T.C."]),
    ]
    first, second = read("docvqa", write(tmp_path / "d.parquet", types, rows))
    assert [first.image_id, second.image_id] == ["pybv0228_81", "pybv0228_82"]
    assert first.questions[0].text == "What is shown?" + SHORT
    assert first.questions[0].details == {"questionId": "49153", "question_types": "figure, form"}
    assert second.questions[0].answers == ("ITC", "I.T.C.")


@pytest.mark.parametrize(
    ("types", "cells", "kind"),
    [
        (
            {"type": pa.string(), "question": pa.string(), "answer": pa.string()},
            ("human_test", "How many bars?", "14"),
            "human_test",
        ),
        (
            {"human_or_machine": pa.int64(), "query": pa.string(), "label": TEXTS},
            (0, "How many bars?", ["14"]),
            "0",
        ),
    ],
    ids=["lmms-lab", "HuggingFaceM4"],
)
def test_chartqa_by_either_repositorys_names(tmp_path, types, cells, kind):
    rows = [(on_hub(PNG), *cells), (on_hub(PNG), *cells), (on_hub(RED), *cells)]
    first, second = read("chartqa", write(tmp_path / "c.parquet", types, rows))
    # No ids: the same bytes are the same image.
    assert [len(first.questions), len(second.questions)] == [2, 1]
    assert (first.data, second.data) == (PNG, RED)
    assert first.questions[0].text == "How many bars?" + SHORT
    assert first.questions[0].answers == ("14",)
    assert first.questions[0].details == {"type": kind}


SCIENCE = {
    "question": pa.string(),
    "choices": TEXTS,
    "answer": pa.int8(),
    "hint": pa.string(),
    "subject": pa.string(),
}


def test_scienceqa(tmp_path):
    rows = [
        (on_hub(PNG), "Which is farthest north?", ["Maine", "Ohio"], 1, "", "social science"),
        (on_hub(RED), "Which is hot?", ["ice", "fire", "fog"], 0, "See the table.", None),
    ]
    first, second = read("scienceqa", write(tmp_path / "s.parquet", SCIENCE, rows))
    instruction = "Answer with the option's letter from the given choices directly."
    assert first.questions[0].text == (
        f"Which is farthest north?\nA. Maine\nB. Ohio\n{instruction}"
    )
    assert first.questions[0].answers == ("B",)
    assert first.questions[0].details == {"subject": "social science"}
    assert second.questions[0].text == (
        f"Context: See the table.\nWhich is hot?\nA. ice\nB. fire\nC. fog\n{instruction}"
    )
    assert second.questions[0].answers == ("A",)
    assert second.questions[0].details == {}


def test_scienceqa_leaves_out_and_counts_what_has_no_image(tmp_path):
    rows = [
        (on_hub(None), "No image?", ["yes", "no"], 0, "", "x"),
        (on_hub(PNG), "First?", ["yes", "no"], 0, "", "x"),
        # Stored as a struct of nothing, too.
        ({"bytes": None, "path": None}, "None either?", ["yes", "no"], 0, "", "x"),
    ]
    reading = BENCHMARKS["scienceqa"].reader([write(tmp_path / "s.parquet", SCIENCE, rows)])
    (image,) = reading
    assert image.questions[0].text.startswith("First?")
    assert (reading.num_rows, reading.num_without_image) == (3, 2)
    assert (reading.num_images, reading.num_questions) == (1, 1)
    assert reading.summary == (
        "scienceqa: 1 questions about 1 images; 2 of 3 rows have no image: left out"
    )


def test_scienceqa_refuses_an_answer_that_is_no_choice(tmp_path):
    path = write(
        tmp_path / "s.parquet", SCIENCE, [(on_hub(PNG), "Which?", ["yes", "no"], 2, "", "x")]
    )
    with pytest.raises(InputError, match=r"row 0: answer is 2, with 2 choices"):
        read("scienceqa", path)


POPE = {
    "id": pa.string(),
    "question_id": pa.string(),
    "question": pa.string(),
    "answer": pa.string(),
    "image_source": pa.string(),
    "category": pa.string(),
}


def test_pope(tmp_path):
    rows = [
        (on_hub(RED), "0", "1", " Is there a dog? ", "yes", "COCO_1", "random"),
        (on_hub(RED), "1", "2", "Is there a cat?", "No", "COCO_1", "random"),
        (on_hub(BLUE), "2", "3", "Is there a car?", "no", "COCO_2", "random"),
        (on_hub(RED), "3", "1", "Is there a dog?", "yes", "COCO_1", "popular"),
    ]
    images = read("pope", write(tmp_path / "p.parquet", POPE, rows))
    # An image that comes back is another one, and no id occurs twice.
    assert [image.image_id for image in images] == ["COCO_1", "COCO_2", "COCO_1#2"]
    assert [q.answers for q in images[0].questions] == [("yes",), ("no",)]
    assert images[0].questions[0].text == "Is there a dog?" + SHORT
    assert images[0].questions[1].details == {"question_id": "2", "category": "random"}
    assert images[2].questions[0].question_id == "COCO_1#2/0"


MME = {
    "question_id": pa.string(),
    "question": pa.string(),
    "answer": pa.string(),
    "category": pa.string(),
}


def test_mme(tmp_path):
    ask = "Is it a {}? Please answer yes or no."
    rows = [
        (on_hub(PNG), "OCR/1.jpg", ask.format("cat"), "Yes", "OCR"),
        (on_hub(PNG), "OCR/1.jpg", ask.format("dog"), "No", "OCR"),
        (on_hub(RED), "count/1.jpg", ask.format("cow"), "Yes", "count"),
    ]
    first, second = read("mme", write(tmp_path / "m.parquet", MME, rows))
    assert first.image_id == "OCR/1.jpg"
    assert [q.text for q in first.questions] == ["Is it a cat?" + SHORT, "Is it a dog?" + SHORT]
    assert [q.answers for q in first.questions] == [("yes",), ("no",)]
    # The pair shares its id; ours tell its questions apart.
    assert [q.details for q in first.questions] == [
        {"question_id": "OCR/1.jpg", "category": "OCR"}
    ] * 2
    assert [q.question_id for q in first.questions] == ["OCR/1.jpg/0", "OCR/1.jpg/1"]
    assert len(second.questions) == 1


@pytest.mark.parametrize(
    ("category", "answer", "message"),
    [
        ("ocr", "Yes", "category is 'ocr', none of existence, .*code_reasoning"),
        ("OCR", "Maybe", "answer is 'maybe', neither yes nor no"),
    ],
)
def test_mme_refuses_what_its_score_does_not_know(tmp_path, category, answer, message):
    rows = [(on_hub(PNG), "1.jpg", "Is it?", answer, category)]
    with pytest.raises(InputError, match=rf"^mme: .*m\.parquet, row 0: {message}$"):
        read("mme", write(tmp_path / "m.parquet", MME, rows))


def test_ocrbench(tmp_path):
    types = {
        "dataset": pa.string(),
        "question": pa.string(),
        "question_type": pa.string(),
        "answer": TEXTS,
    }
    rows = [
        (
            on_hub(PNG),
            "HME100k",
            " Write the formula in LaTeX. ",
            "Handwritten Mathematical Expression Recognition",
            ["x ^ 2"],
        )
    ]
    (image,) = read("ocrbench", write(tmp_path / "o.parquet", types, rows))
    (question,) = image.questions
    assert question.text == "Write the formula in LaTeX."
    assert question.answers == ("x ^ 2",)
    assert question.details["dataset"] == "HME100k"
    # Where the rule for formulas comes from.
    (metric,) = metrics_of("ocrbench")
    assert metric.name == "OCRBench score"
