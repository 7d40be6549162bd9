"""Kills the job in every way at hand, runs it again, and counts what is there.

python -m tests.chaos.run --runs 30 --rows 2000 --seed 1
python -m tests.chaos.run --runs 10 --rows 1000 --seed 1 --duplicates
python -m tests.chaos.scale --rows 1000,10000,100000
"""
