"""Images are found again from ids that cannot hold their names, and in outputs of before."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pipeline.export.groups import Group
from pipeline.export.names import folders_of, item_names
from pipeline.export.originals import Originals
from pipeline.ledger.identity import Identity
from pipeline.rows.errors import InputError
from pipeline.sources import list_input
from tests.support.source_files import CAPTIONING, read_rows

NAMES = (b"a\nb.jpg", b"caf\xe9.jpg", b"a%0Ab.jpg", b"50%.jpg", b"a#b.jpg")


def write(root: Path) -> None:
    for folder in (b"", b"d\xff", b"d%FF", b"x%20y"):
        os.makedirs(os.path.join(os.fsencode(root), folder), exist_ok=True)
        for name in NAMES:
            with open(os.path.join(os.fsencode(root), folder, name), "wb") as file:
                file.write(folder + name)


@pytest.mark.parametrize("old_names", [False, True])
def test_every_image_is_found_again(tmp_path: Path, old_names: bool) -> None:
    write(tmp_path)
    if old_names:  # Two of these had one name then.
        shutil.rmtree(tmp_path / "d%FF")
    listing = list_input([str(tmp_path)], storage_options={}, old_names=old_names)
    version = 1 if old_names else 2
    identity = Identity(fingerprint="f", fields={}, input_root=listing.root, version=version)
    originals = Originals(identity, None, CAPTIONING)
    found = []
    for shard in listing.shards:
        rows = read_rows(shard)
        group = Group(name=shard.name, is_folder=True, paths=())
        digests = {row["image_id"]: hashlib.sha256(row["image"]).hexdigest() for row in rows}
        keys = [row["key"] for row in rows]
        again = dict(originals.read(group, keys, digests))
        assert again == {row["image_id"]: row["image"] for row in rows}
        for row in rows:
            path = originals.path(group, row["key"])
            assert path is not None and Path(path).read_bytes() == row["image"]
        found += list(again)
    assert len(set(found)) == (3 if old_names else 4) * len(NAMES)
    separator = "#" if old_names else "/"
    assert {f"x%20y{separator}a#b.jpg", f"d%FF{separator}caf%E9.jpg"} <= set(found)


def test_exported_names_of_folders(tmp_path: Path) -> None:
    groups = [Group(name=name, is_folder=True, paths=()) for name in ("./", "d%FF/", "a/b/")]
    folders = folders_of([*groups, Group(name="a/b.tar", is_folder=False, paths=())])
    assert folders == {"./": "", "d%FF/": "d%25FF", "a/b/": "a/b", "a/b.tar": "a/b.tar"}
    assert item_names("a/b", {"a/b/x.jpg": "x.jpg"}) == {"a/b/x.jpg": "a/b/x"}


def test_an_image_that_is_gone_is_told(tmp_path: Path) -> None:
    write(tmp_path)
    listing = list_input([str(tmp_path)], storage_options={})
    identity = Identity(fingerprint="f", fields={}, input_root=listing.root)
    group = Group(name="./", is_folder=True, paths=())
    (tmp_path / "50%.jpg").unlink()
    with pytest.raises(InputError, match=r"is not where the job read it.*gone since it was listed"):
        list(Originals(identity, None, CAPTIONING).read(group, ["50%.jpg"], {"50%.jpg": "0"}))
