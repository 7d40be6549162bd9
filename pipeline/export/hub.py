"""A Hugging Face dataset handed on to the Hub, by its own library.

What is there already is not sent again: after a failure the same command goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

import pyarrow.parquet as pq

from pipeline.export.options import ExportOptions
from pipeline.rows.errors import ConfigError, JobError, StorageError
from pipeline.rows.redact import redact_text
from pipeline.storage.files import local_path

__all__ = ["check_hub", "push_to_hub"]

_SENT: Final = ["README.md", "data/train-*.parquet"]
"""What an export makes, and nothing else that may lie in the folder."""

_REPLACED: Final = ["data/train-*.parquet"]
"""Files of an earlier export there that this one has not: `load_dataset` would read them too."""


def check_hub(options: ExportOptions) -> None:
    """Before anything is written: that there is a token, and a folder that can be sent.

    Raises:
        ConfigError: if there is none.
    """
    if options.push_to_hub is None:
        return
    if local_path(options.destination) is None:
        raise ConfigError("push_to_hub: sends a folder of this machine; name one by --into")
    from huggingface_hub import get_token

    with _told(options.push_to_hub):
        if not get_token():
            raise ConfigError(
                "push_to_hub: there is no token; set HF_TOKEN, or log in by `hf auth login`"
            )


def push_to_hub(options: ExportOptions, out: TextIO) -> None:
    """Sends what `export` has written; makes the dataset there if it is not there.

    Raises:
        ConfigError: if the Hub does not let the token do it, or there are no captions.
        StorageError: if it cannot be reached, or fails.
    """
    name, folder = options.push_to_hub, local_path(options.destination)
    assert name is not None and folder is not None, "looked at before"
    if not pq.read_metadata(f"{folder}/data/train-00000.parquet").num_rows:
        raise ConfigError(f"push_to_hub: there is no caption to send; {name} is left as it is")
    from huggingface_hub import HfApi

    api = HfApi()
    with _told(name):
        private = True if options.private else None
        made = api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=list(_SENT),
            delete_patterns=list(_REPLACED),
            commit_message="Captions",
        )
    print(f"they are at the Hub as {made.repo_id}", file=out)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turns what the Hub's library raises into errors of ours, without the token."""
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except JobError:
        raise
    except HFValidationError as exc:
        raise ConfigError(f"push_to_hub: {_plain(exc)}") from None
    except Exception as exc:  # The client's own, its network library's, and the uploader's.
        raise _error_of(exc, name) from None


def _error_of(exc: Exception, name: str) -> JobError:
    """What the Hub answers, if it does; the uploader wraps that in an error of its own."""
    from huggingface_hub.errors import HfHubHTTPError

    answers = [each for each in (exc, exc.__cause__) if isinstance(each, HfHubHTTPError)]
    if not answers:
        why = "" if exc.__cause__ is None else f" ({_plain(exc.__cause__)})"
        return StorageError(f"push_to_hub: cannot reach the Hub: {_plain(exc)}{why}")
    status = answers[0].response.status_code
    if status in (401, 403, 404):
        return ConfigError(f"push_to_hub: the token may not write to {name} (HTTP {status})")
    return StorageError(f"push_to_hub: the Hub answers HTTP {status}: {_plain(answers[0])}")


def _plain(exc: BaseException) -> str:
    """On one line, without what looks like a token."""
    text = redact_text(" ".join(str(exc).split())) or type(exc).__name__
    return re.sub(r"hf_\w+|Bearer \S+", "...", text)
