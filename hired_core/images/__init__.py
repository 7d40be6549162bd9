"""Untrusted image bytes -> RGB -> uint8 partitions; only `fast_partition` needs torch.

What is not here: which cut a model wants (`hired_core.geometry`), processes and time-outs
(`pipeline.isolation`).
"""
