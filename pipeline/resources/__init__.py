"""What there is to run on and what a job takes of it: placement, memory, estimates.

What it took in the end is in `pipeline.accounting`.
"""
