"""What is measured of texts of a form, on a few images."""

from __future__ import annotations

from jsonschema.validators import Draft202012Validator

from lab.benchmark.forms import SCHEMAS, measure


def test_all_texts_are_valid() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    found = measure(2, max_new_tokens=112, num_runs=1)
    assert set(found["forms"]) == {"none", *SCHEMAS}
    for each in found["forms"].values():
        assert (each["valid"], each["faults"], len(each["language_sec"])) == (2, [], 1)
        assert each["tokens_per_sec"] > 0
    assert found["tokens_per_sec_to_none"]["none"] == 1
