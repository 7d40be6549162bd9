"""Paths as people write them: braces, names that ids cannot hold, files that are passed over.

What lies at a path is found by `pipeline.sources.discovery`, and read by the readers.
"""
