"""From what was asked for to the page, or to a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from pipeline.report.asked import ReportOptions
from pipeline.report.reading.findings import look_at
from pipeline.report.reading.subject import subjects_of
from pipeline.report.showing.lines import compared, told
from pipeline.report.showing.page import render
from pipeline.rows.errors import EXIT_DONE, ConfigError
from pipeline.sources import redact_url
from pipeline.storage.files import local_path
from pipeline.storage.store import Store

__all__ = ["report"]


def report(options: ReportOptions, out: TextIO) -> int:
    """Reads the outputs, then stores the page or prints lines; returns the exit code.

    Raises:
        JobError: with its exit code and one line on what went wrong.
    """
    place = None if options.html is None else _place(options, options.html)
    subjects = subjects_of(options.outputs, options.storage_options)
    findings = [look_at(subject, options) for subject in subjects]
    if place is None:
        print("\n\n".join(map(told, findings)), file=out)
        if options.compare:
            print(f"\n{compared(options, findings)}", file=out)
        return EXIT_DONE
    page = render(options, findings).encode()
    store, name = place
    store.put(name, page)
    print(f"{redact_url(str(options.html))}: {len(page) / 2**20:.2f} MiB", file=out)
    return EXIT_DONE


def _place(options: ReportOptions, where: str) -> tuple[Store, str]:
    """Where the page goes, and its name there; looked at before anything is read.

    Raises:
        ConfigError: if it is a folder.
    """
    folder, slash, name = where.rpartition("/")
    path = local_path(where)
    if not name or (path is not None and Path(path).is_dir()):
        raise ConfigError(f"html: {redact_url(where)} is a folder; name a file in it")
    url = folder or ("/" if slash else ".")
    return Store(url=url, storage_options=options.storage_options, setting="html"), name
