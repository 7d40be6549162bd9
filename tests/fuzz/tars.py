"""Tars in the ways that people write them, before they are damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final

from backports import zstd

from tests.fuzz.containers import Container

__all__ = ["TARS"]

_MOST_UNPACKED: Final = 256 * 1024**2
_BOMB_BYTES: Final = 64 * 1024**2
_LOST_AT_BREAK: Final = 4096
Members = Iterator[tuple[str, bytes]]
Pack = Callable[[bytes], bytes]


def _tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _plain(images: Mapping[str, bytes]) -> bytes:
    return _tar((f"{key}.jpg", data) for key, data in images.items())


def _appended(images: Mapping[str, bytes]) -> bytes:
    keys = list(images)
    halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
    return b"".join(_plain({key: images[key] for key in half}) for half in halves)


def _alternating(images: Mapping[str, bytes]) -> bytes:
    pictures = [(f"{key}.jpg", data) for key, data in images.items()]
    texts = [(f"{key}.json", json.dumps({"n": key}).encode()) for key in images]
    return _tar(iter(pictures + texts))


def _several(images: Mapping[str, bytes]) -> bytes:
    sides = ("left.jpg", "right.jpg", "jpg")
    return _tar((f"{key}.{side}", data) for key, data in images.items() for side in sides)


def _bomb(images: Mapping[str, bytes]) -> bytes:
    """In its middle what unpacks to much, and is no image."""
    members = [(f"{key}.jpg", data) for key, data in images.items()]
    members.insert(len(members) // 2, ("00000.raw", bytes(_BOMB_BYTES)))
    return _tar(iter(members))


def _in_pieces(pack: Pack) -> Pack:
    """As several gzip members, zstd frames or bzip2 streams, cut anywhere."""
    return lambda data: b"".join(pack(data[i : i + 5000]) for i in range(0, len(data), 5000))


def _keys(unpack: Callable[[bytes], bytes]) -> Callable[[bytes], Set[str]]:
    """Of members that the standard library reads whole, archive after archive."""

    def keys(data: bytes) -> Set[str]:
        found: set[str] = set()
        plain, at = unpack(data), 0
        while at < len(plain):
            length, names = _archive(plain[at:])
            found |= {_key_of(name) for name in names}
            if not length:
                break
            at += length
            at = next((i for i in range(at, len(plain), 512) if any(plain[i : i + 512])), at)
            if not any(plain[at : at + 512]):
                break
        return {key for key in found if key[:5].isdigit() and key[5:6] in ("", ".")}

    return keys


def _archive(plain: bytes) -> tuple[int, list[str]]:
    """How many bytes the first archive has, 0 where it breaks, and its whole members."""
    names: list[str] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file and member.name.endswith(".jpg") and len(file.read()) == member.size:
                    names.append(member.name)
            end = tar.offset
            return (0 if any(plain[end : end + 512]) else end + 512), names
    except Exception:  # What comes after the damage is not promised.
        return 0, names


def _key_of(name: str) -> str:
    key, _, suffix = name.partition(".")
    return key if suffix == "jpg" else name


def _unpacked(make: Callable[[], Any]) -> Callable[[bytes], bytes]:
    """What comes out of a packed stream before it breaks, but for its last 4 KiB.

    An unpacker that fails gives nothing of what it was asked for: so much is not promised.
    """

    def unpack(data: bytes) -> bytes:
        out, unpacker = bytearray(), make()
        for start in range(0, len(data), 512):
            left = data[start : start + 512]
            try:
                while left and len(out) < _MOST_UNPACKED:
                    out += unpacker.decompress(left)
                    left = unpacker.unused_data if unpacker.eof else b""
                    unpacker = make() if unpacker.eof else unpacker
            except Exception:  # What comes before the damage is what can be read.
                return bytes(out[:-_LOST_AT_BREAK])
        return bytes(out)

    return unpack


_PACKERS: Final[Mapping[str, tuple[Pack, Callable[[bytes], bytes]]]] = {
    "tar": (bytes, bytes),
    "tar.gz": (gzip.compress, _unpacked(lambda: zlib.decompressobj(31))),
    "tar.zst": (zstd.compress, _unpacked(zstd.ZstdDecompressor)),
    "tar.bz2": (bz2.compress, _unpacked(bz2.BZ2Decompressor)),
}
_WRITERS: Final[Mapping[str, Callable[[Mapping[str, bytes]], bytes]]] = {
    "plain": _plain,
    "appended": _appended,
    "alternating": _alternating,
    "several": _several,
}


def _containers() -> Iterator[Container]:
    for ending, (pack, unpack) in _PACKERS.items():
        for name, write in _WRITERS.items():
            yield _container(f"{ending} {name}", ending, write, pack, unpack)
    for ending, (pack, unpack) in list(_PACKERS.items())[1:]:
        yield _container(f"{ending} bomb", ending, _bomb, pack, unpack)
        yield _container(f"{ending} pieces", ending, _appended, _in_pieces(pack), unpack)


def _container(
    name: str,
    ending: str,
    write: Callable[[Mapping[str, bytes]], bytes],
    pack: Pack,
    unpack: Callable[[bytes], bytes],
) -> Container:
    return Container(
        name=name, ending=ending, pack=lambda images: pack(write(images)), keys=_keys(unpack)
    )


TARS: Final = tuple(_containers())
