"""Public benchmarks, read from local files as they are stored on the Hugging Face hub.

One file a benchmark, and what they share. Nothing is downloaded; metrics are in
`lab.evaluation.scoring`.
"""
