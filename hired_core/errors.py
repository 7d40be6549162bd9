"""Settings that cannot be: one error that names the key, the value and what is allowed."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting is unknown, of a wrong type, out of range or contradicts another."""


def require(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raises `SettingError` naming the key, the value and what is allowed."""
    if not ok:
        raise SettingError(f"{key}: {value!r} is out of range; allowed: {allowed}")
