"""What is at an output before a run begins, read without changing it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.ledger.identity import CLEARING, Identity, check_same, load_identity
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.snapshots import load_ledger
from pipeline.parts.sink import ROW_KINDS, Sink
from pipeline.rows.errors import ConfigError
from pipeline.sources import redact_url


@dataclass(frozen=True, kw_only=True)
class ExistingOutput:
    """What is at an output.

    Attributes:
        identity: None for an output that no run has begun to fill.
    """

    identity: Identity | None = None
    ledger: Ledger = field(default_factory=Ledger)


def choose_sink(sink: Sink, fingerprint: str, *, new_run: bool) -> Sink:
    """`sink` itself, or with `new_run` a folder in it if it holds another configuration."""
    there = load_identity(sink) if new_run else None
    if there is None or there.fingerprint == fingerprint:
        return sink
    url = f"{sink.url.rstrip('/')}/runs/{fingerprint}"
    return Sink(url=url, storage_options=sink.storage_options)


def inspect_output(sink: Sink, *, overwrite: bool) -> ExistingOutput:
    """What is there; nothing if it is to be deleted anyway.

    Raises:
        ConfigError: if there are results without a ledger.
    """
    if overwrite or sink.exists(CLEARING):
        return ExistingOutput()
    identity = load_identity(sink)
    if identity is None:
        if any(sink.parts(kind) for kind in ROW_KINDS):
            where = redact_url(sink.url)
            raise ConfigError(
                f"output: {where} holds results but no ledger; give another --output, --overwrite, "
                "or make the ledger anew with jobs/verify.py --repair"
            )
        return ExistingOutput()
    return ExistingOutput(identity=identity, ledger=load_ledger(sink) or Ledger())


def check_fits(existing: ExistingOutput, identity: Identity) -> None:
    """Raises `ConfigError` if what is there was made of other settings or named otherwise."""
    there = existing.identity
    if there is None:
        return
    check_same(there, identity)
    if there.input_root not in (None, identity.input_root):
        raise ConfigError(
            f"input_root: names in this output are relative to {there.input_root}, now to "
            f"{identity.input_root}; give --input-root, or another --output"
        )
