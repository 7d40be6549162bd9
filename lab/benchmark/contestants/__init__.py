"""Who is measured: this engine and transformers' own `generate`, on the same weights.

How they are timed is in `lab.benchmark.measurements`.
"""
