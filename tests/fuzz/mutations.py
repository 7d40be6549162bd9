"""Seeded damage to bytes: what transfers, disks and adversaries do to files."""

from __future__ import annotations

import random

_TELLING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` after one to four mutations, mostly one: much damage is found out at once."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_MUTATIONS)(data, rng)
    return data


def _flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 8) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _flip_in_head(data: bytes, rng: random.Random) -> bytes:
    """Headers decide what a parser believes."""
    head = min(len(data), 64)
    return _flip(data[:head], rng) + data[head:]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.randint(1, 4) + data[end:]


def _garbage(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _number(data: bytes, rng: random.Random) -> bytes:
    """A size or an offset that is at the edge of its range."""
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(_TELLING) % 256**width
    number = value.to_bytes(width, rng.choice(("big", "little")))
    at = rng.randrange(len(data) + 1)
    return data[:at] + number + data[at + width :]


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randint(0, 1 + len(data) // 8))


_MUTATIONS = (_flip, _flip_in_head, _truncate, _drop, _repeat, _garbage, _number)
