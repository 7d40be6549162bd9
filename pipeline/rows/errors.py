"""What can go wrong, in one place.

Two kinds of failure, never mixed:

* **Row failures are values.** A row that cannot be captioned keeps flowing with ``error_stage``,
  ``error_code`` (one of `ROW_ERROR_CODES`) and ``error_detail``, and ends in quarantine.
* **Job failures are exceptions**, one small tree below `JobError`; each knows the exit code the
  entry points end with. An exception out of a stage means "stop the job".
"""

from __future__ import annotations

from typing import Final

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_BAD_CONFIG: Final = 2
EXIT_TOO_MANY_BAD_ROWS: Final = 3


class JobError(Exception):
    """The job cannot go on; `exit_code` is what the process ends with."""

    exit_code = EXIT_FAILED


class ConfigError(JobError):
    """A setting is unknown, of a wrong type, out of range or contradicts another."""

    exit_code = EXIT_BAD_CONFIG


class InputError(JobError):
    """The input cannot be used at all: nothing matches, or no shard has the named column."""

    exit_code = EXIT_BAD_CONFIG


class ModelError(JobError):
    """The checkpoint is missing, incomplete, unsafe or of a family that is not supported."""

    exit_code = EXIT_BAD_CONFIG


class StorageError(JobError):
    """Reading or writing storage failed for a reason other than the data itself."""


class BusyError(JobError):
    """Another run is writing to the output."""


class JobInterruptedError(JobError):
    """Ctrl-C or SIGTERM: finished rows are stored, and the message says what is left."""


class ReconcileError(JobError):
    """Rows in differ from captions + quarantine, or an `image_id` occurs twice."""


ROW_ERROR_CODES: Final[dict[str, str]] = {
    "image_missing": "the row or sample has no image",
    "image_empty": "the image has zero bytes",
    "image_unidentified": "the bytes are no image of an allowed format",
    "image_is_lfs_pointer": "a Git LFS pointer stands in for the image: run git lfs pull",
    "image_is_html": "an HTML page instead of the image: a dead link, a log-in, an error",
    "image_is_xml": "XML instead of the image, mostly an error of a storage service",
    "image_is_json": "JSON instead of the image, mostly an error of a service",
    "image_is_text": "plain text instead of the image, mostly an error message",
    "image_is_svg": "an SVG drawing, which is no raster image",
    "image_is_pdf": "a PDF or PostScript document",
    "image_is_video": "a video",
    "image_is_archive": "a ZIP, gzip, tar or other archive",
    "image_truncated": "the image ends before its data is complete",
    "image_corrupt": "the image's header or data does not decode",
    "image_too_many_pixels": "width x height is over --max-pixels (checked before decoding)",
    "image_too_many_bytes": "the encoded image is over --max-image-bytes",
    "image_too_elongated": "no AnyRes grid keeps a single pixel of so elongated an image",
    "image_timeout": "decoding took longer than --decode-timeout-sec",
    "image_too_much_memory": "decoding needs more memory than --max-decode-mib",
    "image_kills_decoder": "the process that decodes died of the image, twice",
    "prompt_missing": "the prompt or question is null or empty",
    "prompt_invalid": "a template cannot be filled, or the chat template cannot take the prompt",
    "prompt_too_long": "prompt, visual and new tokens do not fit, or a template makes too much",
    "column_missing": "the shard lacks the image or prompt column",
    "key_duplicate": "the key occurred before in the same shard",
    "key_unsafe": "the key is absolute, climbs out with '..' or has control characters",
    "line_invalid": "a line of a CSV or JSON-lines manifest does not parse",
    "path_not_allowed": "a path in a table leads out of --image-root, or of the table's folder",
    "file_not_found": "no file where a table says; a link to nothing; gone since it was listed",
    "file_unreadable": "the file may not be read, or is a folder, a pipe, a socket or a device",
    "url_not_allowed": "a URL in a table is not http(s), or of a private network (--fetch-private)",
    "url_not_found": "the host says that there is no such page (404, 410)",
    "url_refused": "the host does not give the page (401, 403 and other 4xx)",
    "url_opted_out": "the host says no to this use: X-Robots-Tag noai, noindex",
    "url_redirects": "more redirects than --fetch-redirects, or one without a target",
    "url_host_unknown": "the URL's host has no address",
    "url_not_trusted": "the host's certificate is not valid",
    "url_unreachable": "no connection to the host, or it broke off; may pass",
    "url_timeout": "fetching took longer than --fetch-timeout-sec; may pass",
    "url_busy": "the host has too much to do (429, 503); may pass",
    "url_server_error": "the host failed (5xx); may pass",
    "member_not_a_file": "a tar member is a link, a device or the like",
    "shard_truncated": "the shard ends early: rows after this point are unknown",
    "shard_kills_reader": "reading the shard killed its worker again and again: rows are unknown",
    "shard_corrupt": "the shard does not open or parse",
    "encoding_failed": "the vision tower failed on this row alone",
    "generation_timeout": "generating took longer than --generation-timeout-sec",
    "row_kills_process": "the stage's process died of this row, run alone, twice",
    "caption_rejected": "the caption has a flag that --reject names",
    "output_invalid": "the text is not of the form that --schema or --choices asks for",
    "generation_failed": "the language model failed on this row alone",
}
"""Stable codes of row failures, and what each means. Codes are never renamed."""

PASSING_CODES: Final = frozenset(("url_unreachable", "url_timeout", "url_busy", "url_server_error"))
"""Of failures that may be gone at the next try: worth a run with --retry-quarantined."""
