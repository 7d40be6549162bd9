"""What the format readers hand on, before ids are given out: samples, prompts and failures."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.sources.carried.carried_values import Along
from pipeline.sources.shard import ReadOptions

__all__ = [
    "Failure",
    "Prompt",
    "Sample",
    "broken_shard",
    "constant_prompt",
    "given_prompt",
    "is_unicode",
    "named_sample",
    "no_prompt",
    "one_line",
    "oversize",
]

_MAX_DETAIL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row goes to quarantine."""

    code: str
    """One of `pipeline.rows.errors.ROW_ERROR_CODES`."""

    detail: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The texts asked of one image."""

    texts: tuple[str | None, ...] = (None,)
    """At least one; None where a question of several is blank."""

    several: bool = False
    """Whether they came as a list, and so have row ids of their own."""

    failure: Failure | None = None

    names: tuple[str, ...] = ()
    """One for each text; none where they have none."""

    failures: tuple[Failure | None, ...] = ()
    """Of each text, where they may fail one by one; a text that failed is None."""

    def row_ids(self, image_id: str) -> list[str]:
        """One for each text."""
        if self.names:
            return [f"{image_id}#{name}" for name in self.names]
        several = [f"{image_id}#q{i}" for i in range(len(self.texts))]
        return several if self.several else [image_id]


@dataclass(frozen=True, slots=True)
class Sample:
    """One input row as found in a shard."""

    key: str
    """As written in the shard: not yet safe, not yet unique."""

    image: bytes | None
    prompt: Prompt
    failure: Failure | None = None
    """Set by the reader for what only it can see. Missing, empty and oversize images, bad prompts
    and bad keys are found later, for all formats alike."""

    along: Along = field(default_factory=Along)
    """What goes along with the image."""

    place: str | None = None
    """A path or URL that the shard has in place of the image: not yet followed."""


def given_prompt(value: object) -> Prompt:
    """The prompt of a value from the data: a text, a list of texts, or neither (a failure)."""
    if isinstance(value, list):
        texts = tuple(_text(entry) for entry in value)
        return Prompt(texts, several=True) if texts else no_prompt("an empty list")
    text = _text(value)
    if text is not None:
        return Prompt((text,))
    if value is None or isinstance(value, str | bytes):
        return no_prompt("null" if value is None else "blank, or not valid Unicode")
    return no_prompt(f"a {type(value).__name__}, wanted text or a list of texts")


def constant_prompt(options: ReadOptions) -> Prompt:
    """The prompts all images share; a failure when prompts come from the data."""
    if options.prompts:
        names, texts = zip(*options.prompts, strict=True)
        return Prompt(texts, names=names)
    if options.prompt is None:
        return no_prompt(f"no {options.prompt_column!r}")
    return Prompt((options.prompt,))


def named_sample(
    key: str, image: bytes | None, place: bytes | str | None, why: str, prompt: Prompt, along: Along
) -> Sample:
    """A row of a table, which has the image, or names it, or says why there is none.

    Args:
        place: a path or URL; bytes that are no UTF-8 stay what they are.
        why: of a row without an image.
    """
    if image is not None:
        return Sample(key, image, prompt, along=along)
    text = place.decode("utf-8", "surrogateescape") if isinstance(place, bytes) else place
    if text is not None and text.strip():
        return Sample(key, None, prompt, along=along, place=text)
    why = why if text is None else "a blank path"
    return Sample(key, None, prompt, Failure("image_missing", why), along)


def no_prompt(detail: str) -> Prompt:
    """The failure of a row without a usable prompt."""
    return Prompt(failure=Failure("prompt_missing", detail))


def broken_shard(failure: Failure, options: ReadOptions) -> Sample:
    """The row that stands for all rows a broken shard holds beyond this point."""
    keys = {"shard_truncated": "!truncated", "file_not_found": "!gone"}
    key = keys.get(failure.code, "!unreadable" if "file" in failure.code else "!corrupt")
    plain = options.prompt is not None and not options.has_templates
    prompt = constant_prompt(options) if plain else Prompt()
    return Sample(key, None, prompt, failure)


def oversize(num_bytes: int | None, max_bytes: int) -> Failure:
    """The failure of an encoded image of too many bytes; None where it was not read to its end."""
    told = "more bytes than that" if num_bytes is None else f"{num_bytes} bytes"
    detail = f"{told}, the limit is {max_bytes}"
    return Failure("image_too_many_bytes", detail)


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can carry it: no lone surrogate, which JSON can spell and which stands for a
    byte that is no UTF-8."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def one_line(text: str) -> str:
    """`text` as one printable line of at most 200 characters."""
    printable = text.encode("utf-8", "backslashreplace").decode()
    line = " ".join("".join(c if c.isprintable() else " " for c in printable).split())
    return line if len(line) <= _MAX_DETAIL_CHARS else line[: _MAX_DETAIL_CHARS - 3] + "..."


def _text(value: object) -> str | None:
    """`value` if it is a text which is not blank and which UTF-8 can carry, else None."""
    try:
        # JSON can spell lone surrogates, Parquet can hold bytes that are no UTF-8.
        text = value.decode() if isinstance(value, bytes) else value
        if isinstance(text, str) and text.encode() and text.strip():
            return text
    except UnicodeError:
        pass
    return None
