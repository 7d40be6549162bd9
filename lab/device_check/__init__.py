"""The first hour with a GPU in one script: what is equal, what fits, how fast; `device-check`.

Needs torch, transformers, numpy, pillow and this tree. What is compared at leisure, with many
repeats, is in `lab.benchmark`.
"""
