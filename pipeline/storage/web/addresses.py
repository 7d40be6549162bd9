"""No request into a private network: addresses are judged as they are connected to.

Judged after the name is resolved, and the judged address is the one that is connected to: a name
that resolves to another address a moment later gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

__all__ = ["AddressNotAllowedError", "PublicResolver", "check_host", "is_public"]


class AddressNotAllowedError(Exception):
    """A host in a private network, or on this machine."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; those inside IPv6 ones are looked at.

    Not: private, loopback, link-local (a cloud's metadata service is one), shared, multicast,
    reserved.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.is_site_local:
            return False
        inner = found.ipv4_mapped or found.sixtofour
        if found in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def check_host(host: str, *, allow_private: bool) -> None:
    """Judges a host that is written as an address; names are judged when they are resolved.

    Raises:
        AddressNotAllowedError: if it is no public one.
    """
    try:
        is_one = allow_private or is_public(host)
    except ValueError:  # A name.
        return
    if not is_one:
        raise AddressNotAllowedError(f"{host} is no public address")


class PublicResolver(AbstractResolver):
    """Names to addresses, without those that are not public."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises `AddressNotAllowedError` if the name has addresses, and none is public."""
        found = await self._inner.resolve(host, port, family)
        allowed = [each for each in found if self._allow_private or is_public(each["host"])]
        if found and not allowed:
            raise AddressNotAllowedError(f"{host} has no public address")
        return allowed

    async def close(self) -> None:
        await self._inner.close()
