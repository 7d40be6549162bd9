"""What a job took: statistics of batches, progress, cost.

What it may take is in `pipeline.resources`; the report that sums it up, in `pipeline.job`.
"""
