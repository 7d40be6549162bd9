"""Training of the vision tower on labelled partitions: the loop's steps, and the losses.

The pictures it learns from are in `lab.training.data`.
"""
