"""Which files an input stands for, what they are called, and in which order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fsspec
import pytest

from pipeline.rows.errors import InputError
from pipeline.sources import Shard, list_input


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))


def names(*inputs: object, root: Path | None = None) -> list[str]:
    listing = list_input(
        [str(each) for each in inputs],
        storage_options={},
        input_root=None if root is None else str(root),
    )
    return [shard.name for shard in listing.shards]


def passed(*inputs: object) -> dict[str, int]:
    listing = list_input([str(each) for each in inputs], storage_options={})
    return dict(listing.passed_over)


def test_directory_is_walked_and_sorted(tmp_path: Path) -> None:
    make(tmp_path, "b/2.tar", "b/10.tar", "a.parquet", "c/d/e.TGZ", "c/x.tar.gz", "notes.txt")
    shards = list_input([str(tmp_path)], storage_options={}).shards
    assert [(shard.name, shard.format) for shard in shards] == [
        ("a.parquet", "parquet"),
        ("b/10.tar", "webdataset"),
        ("b/2.tar", "webdataset"),
        ("c/d/e.TGZ", "webdataset"),
        ("c/x.tar.gz", "webdataset"),
    ]
    assert shards[0] == Shard(
        url=str(tmp_path / "a.parquet"),
        name="a.parquet",
        format="parquet",
        size_bytes=len("a.parquet"),
        signature=f"9:{(tmp_path / 'a.parquet').stat().st_mtime}",
    )


def test_underscored_are_read_and_hidden_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "a.tar", ".b.tar", "_c.tar", "_tmp/d.tar", ".git/e.tar", "f/_g/h.tar")
    make(tmp_path, "_delta_log/x.parquet", "x/_temporary/0/part.parquet")
    assert names(tmp_path) == ["_c.tar", "_tmp/d.tar", "a.tar", "f/_g/h.tar"]
    assert names(tmp_path / "*.tar") == ["_c.tar", "a.tar"]
    assert names(tmp_path / "**") == ["_c.tar", "_tmp/d.tar", "a.tar", "f/_g/h.tar"]
    assert passed(tmp_path) == {"hidden": 2, "of another program": 2}
    assert passed(tmp_path / "*.tar") == {"hidden": 1}


def test_a_named_or_globbed_hidden_file_is_wanted(tmp_path: Path) -> None:
    make(tmp_path, "a.tar", ".c.tar", ".tmp/d.tar", ".tmp/.e.tar")
    assert names(tmp_path / ".c.tar") == [".c.tar"]
    assert names(tmp_path / ".*.tar") == [".c.tar"]
    assert names(tmp_path / ".tmp") == ["d.tar"]
    assert names(tmp_path / ".t*") == [".tmp/d.tar"]
    assert passed(tmp_path, tmp_path / ".c.tar") == {"hidden": 2}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.tar", ["1.tar", "2.tar"]),
        ("?.tar", ["1.tar", "2.tar"]),
        ("[2-3].tar", ["2.tar"]),
        ("*/*.tar", ["x/3.tar", "y/4.tar"]),
        ("**/*.tar", ["1.tar", "2.tar", "x/3.tar", "x/z/5.tar", "y/4.tar"]),
        ("x*", ["x/3.tar", "x/z/5.tar"]),
        ("*", ["1.tar", "2.tar", "x/3.tar", "x/z/5.tar", "y/4.tar"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    make(tmp_path, "1.tar", "2.tar", "x/3.tar", "y/4.tar", "x/z/5.tar", "x/readme.md")
    assert names(tmp_path / pattern) == expected


def test_glob_characters_may_be_part_of_a_name(tmp_path: Path) -> None:
    make(tmp_path, "what[1]?.tar", "what1x.tar")
    assert names(tmp_path / "what[1]?.tar") == ["what[1]?.tar"]


def test_names_are_relative_to_the_longest_common_directory(tmp_path: Path) -> None:
    make(tmp_path, "day/en/1.tar", "day/de/1.tar", "day/den/1.tar")
    assert names(tmp_path / "day/en/*.tar") == ["1.tar"]
    assert names(tmp_path / "day/en/1.tar") == ["1.tar"]
    assert names(tmp_path / "day/en", tmp_path / "day/de") == ["de/1.tar", "en/1.tar"]
    assert names(tmp_path / "day/de", tmp_path / "day/den/1.tar") == ["de/1.tar", "den/1.tar"]
    assert names(tmp_path / "day/e?/*.tar") == ["en/1.tar"]


def test_input_root_is_what_names_are_relative_to(tmp_path: Path) -> None:
    make(tmp_path, "day/en/1.tar")
    assert names(tmp_path / "day/en", root=tmp_path) == ["day/en/1.tar"]
    with pytest.raises(InputError, match="not below the input root"):
        names(tmp_path / "day/en", root=tmp_path / "day/e")


def test_a_file_reached_twice_is_listed_once(tmp_path: Path) -> None:
    make(tmp_path, "a/1.tar", "a/2.tar", "a/x.jpg")
    twice = names(tmp_path / "a", tmp_path / "a/../a/*.tar", f"file://{tmp_path}/a/1.tar")
    assert twice == ["./", "1.tar", "2.tar"]
    assert names(tmp_path, tmp_path / "a/x.jpg") == ["a/", "a/1.tar", "a/2.tar"]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.tar")
    monkeypatch.chdir(tmp_path)
    (shard,) = list_input(["a/*.tar"], storage_options={}).shards
    assert shard.url == str(tmp_path / "a/1.tar")


@pytest.mark.parametrize("pattern", ["gone.tar", "*.parquet", "gone/**", "empty", "notes*"])
def test_nothing_matches(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "1.tar", "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        names(tmp_path / "1.tar", tmp_path / pattern)
    assert str(tmp_path / pattern) in str(caught.value)


def test_pattern_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot list .*'\*\*' can only be"):
        names(tmp_path / "a**")


def test_no_input_and_unknown_suffix(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    with pytest.raises(InputError, match="no input given"):
        names()
    with pytest.raises(InputError, match=r"notes.txt is of no known format.*\.parquet"):
        names(tmp_path / "notes.txt")


def images_of(folder: Path, **known: int) -> list[Shard]:
    listing = list_input(
        [str(folder)],
        storage_options={},
        buckets={"./" if k == "root" else f"{k}/": n for k, n in known.items()},
    )
    return list(listing.shards)


def test_loose_images_are_divided_by_name_within_their_directory(tmp_path: Path) -> None:
    images = [f"{i:03}.jpg" for i in range(130)]
    make(tmp_path, *images, *(f"sub/{name}" for name in ("b.PNG", "a.webp", "c.TIFF")))
    shards = images_of(tmp_path, sub=1)
    root, (sub,) = shards[:-1], shards[-1:]
    assert sorted(name for shard in root for name in shard.files) == images
    assert {(shard.name, shard.url) for shard in root} == {("./", str(tmp_path))}
    assert all(shard.files == tuple(sorted(shard.files)) for shard in root)
    assert len({shard.ledger_id for shard in shards}) == len(shards)
    assert 10 <= len(root) <= 16
    assert (sub.name, sub.bucket, sub.url) == ("sub/", "0/1", str(tmp_path / "sub"))
    assert sub.files == ("a.webp", "b.PNG", "c.TIFF")
    assert sub.size_bytes == len("sub/a.webp") + len("sub/b.PNG") + len("sub/c.TIFF")
    assert json.loads(sub.signature).keys() == set(sub.files)


def test_a_directory_that_grows_leaves_every_image_where_it_was(tmp_path: Path) -> None:
    make(tmp_path, *(f"{i:04}.jpg" for i in range(30)))
    before = images_of(tmp_path)
    make(tmp_path, *(f"{i:04}.jpg" for i in range(30, 1500)))
    assert {shard.bucket.partition("/")[2] for shard in images_of(tmp_path)} == {"32"}
    after = {shard.ledger_id: set(shard.files) for shard in images_of(tmp_path, root=16)}
    assert all(after[shard.ledger_id] >= set(shard.files) for shard in before)
    assert len(after) == 16
    assert sum(map(len, after.values())) == 1500


@pytest.mark.parametrize(
    ("count", "buckets"), [(1, 16), (1023, 16), (1024, 32), (2047, 32), (2048, 64)]
)
def test_the_number_of_buckets_follows_the_size(tmp_path: Path, count: int, buckets: int) -> None:
    make(tmp_path, *(f"{i}.jpg" for i in range(count)))
    assert {shard.bucket.partition("/")[2] for shard in images_of(tmp_path)} == {str(buckets)}


def test_files_and_folders_that_sort_between_each_other(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b/x.jpg", "c.jpg", "d/x.jpg", "e.jpg")
    assert [(shard.name, shard.files) for shard in images_of(tmp_path, root=1)] == [
        ("./", ("a.jpg", "c.jpg", "e.jpg")),
        ("b/", ("x.jpg",)),
        ("d/", ("x.jpg",)),
    ]


def test_the_signature_follows_the_content(tmp_path: Path) -> None:
    """Size and modification time, of loose images each one's."""
    make(tmp_path, "a.tar", "x.jpg", "y.jpg")
    (images, tar), (again, _) = images_of(tmp_path, root=1), images_of(tmp_path, root=1)
    assert images == again
    os.utime(tmp_path / "x.jpg", (1, 1))
    os.utime(tmp_path / "a.tar", (1, 1))
    changed, changed_tar = images_of(tmp_path, root=1)
    assert changed_tar.signature == f"{len('a.tar')}:1.0" != tar.signature
    before, after = json.loads(images.signature), json.loads(changed.signature)
    assert {name for name in before if before[name] != after[name]} == {"x.jpg"}


def test_the_root_of_an_earlier_run_is_kept_where_it_can_be(tmp_path: Path) -> None:
    """A night with one input only names its shards as the night with two did."""
    make(tmp_path, "day/en/1.tar", "day/de/1.tar")
    both = list_input([str(tmp_path / "day")], storage_options={})
    assert both.root == f"file/{tmp_path}/day"

    def root_of(folder: str, known: str) -> str:
        return list_input([str(tmp_path / folder)], storage_options={}, known_root=known).root

    assert root_of("day/en", both.root) == both.root
    assert root_of("day", f"{both.root}/en") == both.root  # not all lies below it
    assert root_of("day/en", f"{both.root}/e") == f"{both.root}/en"


def write_state(folder: Path, *files: str) -> None:
    state = {"_data_files": [{"filename": name} for name in files]}
    (folder / "state.json").write_text(json.dumps(state))


def test_saved_dataset_is_its_data_files(tmp_path: Path) -> None:
    make(tmp_path, "train/data-0.arrow", "train/cache-1.arrow", "train/dataset_info.json")
    make(tmp_path, "test/data-0.arrow", "dataset_dict.json")
    for split in ("train", "test"):
        write_state(tmp_path / split, "data-0.arrow")
    shards = list_input([str(tmp_path)], storage_options={}).shards
    assert [(shard.name, shard.format) for shard in shards] == [
        ("test/data-0.arrow", "arrow"),
        ("train/data-0.arrow", "arrow"),
    ]
    assert names(tmp_path / "t*") == ["test/data-0.arrow", "train/data-0.arrow"]


def test_saved_dataset_that_lost_a_file_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "data-0.arrow")
    write_state(tmp_path, "data-0.arrow", "data-1.arrow")
    with pytest.raises(InputError, match=r"lists data-1\.arrow, which is not there"):
        names(tmp_path)


def test_state_of_another_program_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path, "a.arrow", "b.tar")
    for text in ("{}", "[1]", "no json", '{"_data_files": 3}'):
        (tmp_path / "state.json").write_text(text)
        assert names(tmp_path) == ["a.arrow", "b.tar"]


def test_names_are_printable(tmp_path: Path) -> None:
    make(tmp_path, "a\nb/1.tar")
    (tmp_path / "a\nb" / "\udcff.tar").write_bytes(b"")
    assert names(tmp_path) == ["a%0Ab/%FF.tar", "a%0Ab/1.tar"]


def test_inputs_of_several_file_systems(tmp_path: Path) -> None:
    make(tmp_path, "1.tar")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/corpus/a/1.tar": b"x", "/corpus/b/2.tar": b"x"})
    try:
        shards = list_input(["memory://corpus/**/*.tar"], storage_options={}).shards
        assert [shard.name for shard in shards] == ["a/1.tar", "b/2.tar"]
        assert shards[0].url == "memory://corpus/a/1.tar"
        both = names("memory://corpus/a", tmp_path / "1.tar")
        assert both == [f"file/{tmp_path}/1.tar", "memory/corpus/a/1.tar"]
    finally:
        memory.rm("/corpus", recursive=True)
