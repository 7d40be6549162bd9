"""Training of the embedded model on rendered pictures, from shards to a checkpoint.

Pictures are drawn in `lab.rendering`; measuring the result is `lab.evaluation`'s.
"""
