"""The images of captions, read again from where the job read them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pipeline.export.groups import Group
from pipeline.ledger.identity import Identity
from pipeline.rows.errors import ConfigError, InputError, StorageError
from pipeline.sources import ReadOptions, Shard, read_shard, redact_url
from pipeline.sources.discovery import format_of
from pipeline.sources.paths.spelling import meant
from pipeline.storage.files import filesystem, local_path, storage_errors
from pipeline.storage.walk import exists

__all__ = ["Originals"]

_UNOPENED: Final = ("file_not_found", "file_unreadable")


class Originals:
    """Images by group.

    Args:
        root: what shard names are relative to; None for where the job found them.
        options: storage and size limit; columns are those of the job.

    Raises:
        ConfigError: if the output does not know where its images were, and `root` is None.
    """

    def __init__(self, identity: Identity, root: str | None, options: ReadOptions) -> None:
        if root is None and identity.input_root is None:
            raise ConfigError("input_root: the output does not know it any more; give it")
        self._root = (local_path(root) or root) if root else _url_of(str(identity.input_root))
        self._options = options
        self._has_old_names = identity.has_old_names

    def path(self, group: Group, key: str) -> str | None:
        """Of a loose image on this machine's disk; None for any other."""
        folder = local_path(self._url(group)) if group.is_folder else None
        return f"{folder}/{meant(key)}" if folder else None

    def read(
        self, group: Group, keys: Sequence[str], digests: Mapping[str, str]
    ) -> Iterator[tuple[str, bytes]]:
        """(image id, bytes) of every image that `digests` names, in the order of the shard.

        Args:
            keys: of the images; files of the folder, where the group is one.
            digests: SHA-256 of each image as it was captioned, by image id.

        Raises:
            InputError: if images are gone, or are others than those that were captioned.
        """
        left = dict(digests)
        with self._told_as_gone(group):
            for row in self.rows(group, keys):
                if row["error_code"] in _UNOPENED and (group.is_folder or row["key"][0] == "!"):
                    raise self._not_there(group, str(row["error_detail"]))
                digest = left.pop(row["image_id"], None)
                if digest is None:
                    continue
                image = row["image"] or b""
                if hashlib.sha256(image).hexdigest() != digest:
                    what = row["error_detail"] or "is another than the one that was captioned"
                    raise InputError(f"input: {row['image_id']}: {what}")
                yield row["image_id"], image
                if not left:
                    return
        raise InputError(
            f"input: {redact_url(self._url(group))} has no {next(iter(left))} any more"
            f" ({len(left)} of {len(digests)} captioned images are gone); leave captions without "
            "an image out by --where"
        )

    def rows(self, group: Group, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows of the shard as the job reads them, of whatever content their images are now.

        Args:
            keys: of the images; files of the folder, where the group is one.
        """
        for table in read_shard(self._shard(group, keys), self._options):
            yield from (row for row in table.to_pylist() if row["shard_rows"] is None)

    def _shard(self, group: Group, keys: Sequence[str]) -> Shard:
        url = self._url(group)
        if group.is_folder:
            files = tuple(map(meant, keys))
            return Shard(url=url, name=group.name, format="images", files=files)
        kind = format_of(group.name)
        assert kind is not None, "the job reads files of known formats only"
        return Shard(url=url, name=group.name, format=kind)

    def _url(self, group: Group) -> str:
        """Names are as in the input, but for what ids cannot hold: `meant` is the way back."""
        name = group.name.rstrip("/")
        if name == ".":
            return self._root
        url = f"{self._root.rstrip('/')}/{name}"
        # In outputs of before, a '%' of a name is written as it is.
        if "%" not in name or (self._has_old_names and self._is_there(url)):
            return url
        return f"{self._root.rstrip('/')}/{meant(name)}"

    def _is_there(self, url: str) -> bool:
        with storage_errors("look for", url):
            return exists(*filesystem(url, self._options.storage_options))

    @contextlib.contextmanager
    def _told_as_gone(self, group: Group) -> Iterator[None]:
        try:
            yield
        except StorageError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError):
                raise
            raise self._not_there(group, str(exc)) from exc

    def _not_there(self, group: Group, why: str) -> InputError:
        return InputError(
            f"input: {redact_url(self._url(group))} is not where the job read it, and this "
            "form of export needs its images; give --input-root if it has moved, or another "
            f"form ({why})"
        )


def _url_of(root: str) -> str:
    """The URL of a root as a listing names it: scheme, host and path joined by '/'."""
    scheme, _, rest = root.partition("/")
    return f"/{rest.lstrip('/')}" if scheme == "file" else f"{scheme}://{rest}"
