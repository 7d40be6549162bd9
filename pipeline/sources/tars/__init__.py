"""WebDataset shards: tars as they are written, and the samples in them.

What becomes of a sample is not known here: `pipeline.sources.rows` gives out ids and prompts.
"""
