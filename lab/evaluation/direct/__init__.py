"""All variants' answers in this process: each image is cut and encoded once, for all of them.

The same halves and texts as the job's; what the job itself takes is `lab.evaluation.job`'s to tell.
"""
