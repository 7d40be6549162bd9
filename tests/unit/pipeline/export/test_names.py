"""Names of files: safe on any disk, all different, the same at every attempt."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.groups import Group, natural
from pipeline.export.names import folders_of, item_names, safe_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("day1/en/0001", "day1/en/0001"),
        ("über/写真 (2)", "über/写真 (2)"),
        ("../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
        ("/etc/passwd", "%/etc/passwd"),
        ("a//b", "a/%/b"),
        (".hidden", "%2Ehidden"),
        ("a#1?*:\\%", "a%231%3F%2A%3A%5C%25"),
        ("dot. ", "dot.%20"),
        (" ", "%20"),
        (".", "%2E"),
        ("line\nbreak\x00", "line%0Abreak%00"),
        ("caf\udce9", "caf%ED%B3%A9"),
    ],
)
def test_what_becomes_of_a_text(text: str, path: str) -> None:
    assert safe_path(text) == path


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=30))
def test_any_text_is_a_path_below(text: str) -> None:
    path = safe_path(text)
    path.encode()  # no surrogates
    for part in path.split("/"):
        assert part and part[0] not in ". " and part[-1] not in ". "
        assert not set(part) & set('\\:*?"<>|#\0\n')


@given(st.lists(st.text("aA./%~é#\\ e\u0301", min_size=1, max_size=4), unique=True, max_size=12))
def test_no_two_items_share_a_name(keys: list[str]) -> None:
    ids = {f"s#{key}": key for key in keys}
    names = item_names("s", ids)
    assert names == item_names("s", dict(reversed(ids.items())))
    folded = {unicodedata.normalize("NFC", name).casefold() for name in names.values()}
    assert len(folded) == len(keys)


def test_a_name_that_is_too_long_is_cut_and_marked() -> None:
    first, second = (safe_path("x" * 300 + end) for end in "ab")
    assert first != second and len(first) < 200 and first.startswith("x" * 180 + "~")
    assert len(safe_path("写" * 300).encode()) < 200


def test_an_image_without_its_ending_is_told_from_one_with_another() -> None:
    names = item_names("p", {"p#a.jpg": "a.jpg", "p#a.png": "a.png", "p#b.gif": "b.gif"})
    assert names["p#b.gif"] == "p/b"
    assert names["p#a.jpg"].startswith("p/a~") and names["p#a.png"].startswith("p/a~")
    assert len({*names.values()}) == 3
    assert item_names("", {"x": ".png", "y": "v1.2"}) == {"x": "%2Epng", "y": "v1.2"}


def test_no_key_can_be_made_to_be_the_name_of_another() -> None:
    """Marks follow from ids, which whoever names the files knows."""
    same = {"p#a.jpg": "a.jpg", "p#a.png": "a.png"}
    forged = item_names("", same)["p#a.png"]
    for key in (forged, forged.upper()):
        names = item_names("", same | {f"p#{key}.jpg": f"{key}.jpg"})
        assert len({name.casefold() for name in names.values()}) == 3


def test_folders_of_shards_do_not_run_into_each_other() -> None:
    def group(name: str, is_folder: bool = False) -> Group:
        return Group(name=name, is_folder=is_folder, paths=())

    groups = [group("."), group("A.tar"), group("a.tar"), group("b.tar"), group("b.tar/c.tar")]
    groups += [group("photos", True), group("photos/more", True), group("d.tar")]
    found = folders_of(groups)
    assert found["."] == "" and found["d.tar"] == "d.tar" and found["photos"] == "photos"
    assert found["b.tar"].startswith("b.tar~") and found["b.tar/c.tar"] == "b.tar/c.tar"
    assert len({folder.casefold() for folder in found.values()}) == len(groups)


def test_numbers_in_ids_are_sorted_by_value() -> None:
    ids = [f"s#{i}.png#q{j}" for j in (0, 10, 2) for i in (0, 10, 2)]
    assert sorted(ids, key=natural) == [f"s#{i}.png#q{j}" for i in (0, 2, 10) for j in (0, 2, 10)]
