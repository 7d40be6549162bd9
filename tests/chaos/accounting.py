"""What is in the output against what must be; shares no code with the job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.chaos.corpus import Corpus
from tests.chaos.storage import Folder
from tests.support.bad_images import OK

SHOWN = 3


def problems(output: Folder, corpus: Corpus, texts: Mapping[str, str] | None = None) -> list[str]:
    """Empty if every row is there once, ended as it must, and nothing else is there.

    Args:
        texts: of an uninterrupted run, by `image_id`.
    """
    ends, times = _ends(output)
    found = texts_of(output) if texts is not None else {}
    wanted = texts or {}
    groups = {
        "lost": corpus.ends.keys() - ends.keys(),
        "twice": {i for i, count in times.items() if count > 1},
        "unknown": ends.keys() - corpus.ends.keys(),
        "ended wrongly": {i for i in ends.keys() & corpus.ends if ends[i] != corpus.ends[i]},
        "other text": {i for i in found.keys() & wanted if found[i] != wanted[i]},
        "without a reference text": found.keys() - wanted.keys(),
        "left over": {name for name in output.files() if _is_left_over(name)},
    }
    return [_shown(what, who) for what, who in groups.items() if who]


def texts_of(output: Folder) -> dict[str, str]:
    """Captions by `image_id`."""
    return {
        row["image_id"]: row["text"]
        for table in output.tables("captions", ["image_id", "text"])
        for row in table.to_pylist()
    }


def in_vain(output: Folder, answered: Mapping[str, int]) -> list[str]:
    """What the latest of these runs answered beyond what it stored; empty if nothing.

    Args:
        answered: rows by run id. Run ids sort by time.
    """
    last = max(answered, default="")
    stored = Counter(
        row["run_id"]
        for table in output.tables("captions", ["run_id", "duplicate_of"])
        for row in table.to_pylist()
        if row["duplicate_of"] is None
    )
    if stored[last] == answered.get(last, 0):
        return []
    return [f"the last run answered {answered[last]} rows and stored {stored[last]}"]


def copies_wrong(output: Folder, *, undisturbed: bool) -> list[str]:
    """Copies that have another text than what they name, or name a copy; empty if there is none.

    Args:
        undisturbed: no image was captioned twice. A worker of a driver that was killed may store a
            part so late that the next run does not know of it.
    """
    columns = ["image_id", "text", "sha256", "prompt", "duplicate_of"]
    rows = {r["image_id"]: r for t in output.tables("captions", columns) for r in t.to_pylist()}
    copies = {i: row["duplicate_of"] for i, row in rows.items() if row["duplicate_of"]}
    keys = Counter((rows[i]["sha256"], rows[i]["prompt"]) for i in rows.keys() - copies.keys())
    told = ("text", "sha256", "prompt")
    groups = {
        "copies of nothing": {i for i, first in copies.items() if first not in rows},
        "copies of copies": {i for i, first in copies.items() if first in copies},
        "copies of another": {
            i
            for i, first in copies.items()
            if first in rows and any(rows[i][name] != rows[first][name] for name in told)
        },
        "captioned again": {key[0] for key, n in keys.items() if undisturbed and n > 1},
    }
    return [_shown(what, who) for what, who in groups.items() if who]


def _ends(output: Folder) -> tuple[dict[str, str], Counter[str]]:
    """How each row ended, and how often it occurs."""
    ends: dict[str, str] = {}
    times: Counter[str] = Counter()
    for kind, column in (("captions", "text"), ("quarantine", "error_code")):
        for table in output.tables(kind, ["image_id", column]):
            for image_id, value in zip(*(c.to_pylist() for c in table.columns), strict=True):
                times[image_id] += 1
                ends[image_id] = OK if kind == "captions" and value else value or "no text"
    return ends, times


def _is_left_over(name: str) -> bool:
    """Hidden or temporary, or a row that waits: what a run that was killed would leave."""
    base = name.rpartition("/")[2]
    return base.startswith(".") or ".tmp" in base or name.startswith("waiting/")


def _shown(what: str, who: set[str]) -> str:
    return f"{len(who)} {what}: {', '.join(sorted(who)[:SHOWN])}{' ...' * (len(who) > SHOWN)}"
