"""Which processes a process has started, as /proc tells."""

from __future__ import annotations

from pathlib import Path


def descendants(parent: int) -> dict[int, str]:
    """Ids and titles of its children, theirs, and so on; of those that run."""
    below: dict[int, str] = {}
    parents = {process: at for process, at in _parents().items() if process != parent}
    found, grew = {parent}, True
    while grew:
        more = {process for process, at in parents.items() if at in found} - found
        found, grew = found | more, bool(more)
    for process in found - {parent}:
        title = _read(process, "cmdline")
        if title is not None:
            below[process] = title.replace("\0", " ").strip()
    return below


def _parents() -> dict[int, int]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _read(int(folder.name), "stat")) is not None:
            found[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def _read(process: int, name: str) -> str | None:
    try:
        return Path(f"/proc/{process}/{name}").read_text(errors="replace")
    except OSError:
        return None
