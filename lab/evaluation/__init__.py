"""How true and how quick the job is at each budget, on questions with known answers.

Answers come from the job itself, run as users run it (`pipeline.job`). Speed of the engine apart
from the job is `lab.benchmark`'s; pictures with known content are `lab.rendering`'s.
"""
