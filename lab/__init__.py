"""What studies the system and is not the job: evaluation, rendering, training, benchmarks.

The pipeline never imports it.
"""
