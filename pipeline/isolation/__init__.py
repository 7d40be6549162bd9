"""Decoding in a process of its own, so that an image can cost its row and nothing else.

Encoded images are untrusted, and the libraries that decode them are C: one may crash, allocate
without end or never return. Each worker process therefore keeps one child process that does nothing
but decode and cut, under limits; a child that dies or is killed is replaced.

    protocol   what is said over the socket between the two
    cut        what the child does with an image
    likeness   what it looks like, in 64 bits
    child      the child's main loop
    process    the parent's handle of one child
    decoder    decoding with retries, over a succession of children
"""

from pipeline.isolation.decoder import IsolatedDecoder, shared_decoder
from pipeline.isolation.protocol import CutOptions, CutSettings, DecodeLimits, PartitionedImage

__all__ = [
    "CutOptions",
    "CutSettings",
    "DecodeLimits",
    "IsolatedDecoder",
    "PartitionedImage",
    "shared_decoder",
]
