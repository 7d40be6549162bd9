"""How right answers are: one module per metric, and what all of them have in common.

Plain functions of text. Means over an evaluation are in `lab.evaluation.results`.
"""
