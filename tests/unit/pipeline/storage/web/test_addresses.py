"""Which addresses are public, in all their spellings."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.storage.web.addresses import (
    AddressNotAllowedError,
    PublicResolver,
    check_host,
    is_public,
)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe"),
    ],
)
def test_these_are_not_public(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(AddressNotAllowedError):
        check_host(address, allow_private=False)
    check_host(address, allow_private=True)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_these_are_public(address: str) -> None:
    assert is_public(address)
    check_host(address, allow_private=False)


def test_a_name_is_judged_by_what_it_resolves_to() -> None:
    async def resolved(*, allow_private: bool) -> list[str]:
        resolver = PublicResolver(allow_private=allow_private)
        return [each["host"] for each in await resolver.resolve("localhost", 80)]

    check_host("localhost", allow_private=False)
    assert "127.0.0.1" in asyncio.run(resolved(allow_private=True))
    with pytest.raises(AddressNotAllowedError, match="localhost has no public address"):
        asyncio.run(resolved(allow_private=False))
