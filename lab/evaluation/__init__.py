"""How true and how quick the job is at each budget, on questions with known answers.

Answers come from this process, all methods at once (`direct`), or from the job itself, run as users
run it (`job`): the same texts. Speed of the engine apart
from the job is `lab.benchmark`'s; pictures with known content are `lab.rendering`'s.
"""
