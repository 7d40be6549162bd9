"""What is measured: whole contests, single stages, peak memory; and the sums of it.

Contestants are in `lab.benchmark.contestants`; what they could reach, in `lab.benchmark.roofline`.
"""
