"""The studies hold what the paper compares, and each setting is one that a job accepts."""

from __future__ import annotations

import json

import pytest

from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.study.ablations import STUDIES, Setting, Study
from pipeline.command_line.cli import parse_job
from pipeline.settings.config import CaptionConfig
from tests.support.settings import OPTIONS, reduction

EVERY = [(study, setting) for study in STUDIES.values() for setting in study.settings]
IDS = [f"{study.name}: {setting.label}" for study, setting in EVERY]


def config(setting: Setting) -> ReductionSettings:
    return reduction(**setting.selection)  # type: ignore[arg-type]


@pytest.mark.parametrize(("study", "setting"), EVERY, ids=IDS)
def test_every_setting_is_one(study: Study, setting: Setting) -> None:
    """For the configuration, for the core, and on a command line."""
    chosen = config(setting)
    chosen.resolve()
    flags = ["--input", "a", "--output", "o"]
    options = {key: value for key, value in setting.selection.items() if key in OPTIONS}
    for key, value in setting.selection.items() - options.items():
        flags += [f"--{key}", str(value)]
    flags += ["--method-options", json.dumps(options)]
    assert parse_job(flags, CaptionConfig, "Caption images.").reduction == chosen


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_no_two_lines_of_a_study_are_the_same(study: Study) -> None:
    labels = [setting.label for setting in study.settings]
    assert len(labels) == len(set(labels)) > 1
    lines = [(repr(config(setting)), setting.images) for setting in study.settings]
    assert len(lines) == len(set(lines))


def test_the_studies_are_those_of_the_issue() -> None:
    names = ["alpha", "layers", "upstream", "newlines", "positions", "skip_below", "distinct"]
    assert list(STUDIES) == names == [study.name for study in STUDIES.values()]


def test_alpha_goes_from_nothing_to_all() -> None:
    shares = [config(setting).alpha for setting in STUDIES["alpha"].settings]
    assert shares == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert {config(setting).token_budget for setting in STUDIES["alpha"].settings} == {0.2}


def test_table_5_varies_one_choice_at_a_time() -> None:
    at_20 = [config(s) for s in STUDIES["layers"].settings if config(s).token_budget == 0.2]
    assert [chosen.variations for chosen in at_20] == [
        {},
        {"allocation": "final"},
        {"allocation": "even"},
        {"dropping": "middle"},
        {"dropping": "initial"},
        {"heads": "none"},
    ]
    assert len(STUDIES["layers"].settings) == 2 * len(at_20)


def test_the_published_code_is_measured_where_it_differs() -> None:
    lines = {(config(s).method, config(s).transposed_grid, s.images) for s in EVERY_UPSTREAM}
    kinds = (("hired", False), ("hired-upstream", False), ("hired-upstream", True))
    assert lines == {(*kind, images) for kind in kinds for images in (None, "padded", "elongated")}
    assert {config(s).budget_basis for s in EVERY_UPSTREAM} == {"image"}


EVERY_UPSTREAM = STUDIES["upstream"].settings


def test_positions_are_compared_with_all_else_equal() -> None:
    study = STUDIES["positions"]
    assert study.tasks == ("spatial", "chart")
    pairs = zip(study.settings[::2], study.settings[1::2], strict=True)
    for compact, original in pairs:
        expected = dict(compact.selection) | {"positions": "original"}
        assert dict(original.selection) == expected != dict(compact.selection)
