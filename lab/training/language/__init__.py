"""Training of the projector and the language model on the frozen tower's features.

Packed sequences and their attention. What is asked in them is in `lab.training.data`.
"""
