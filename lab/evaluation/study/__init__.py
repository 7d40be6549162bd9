"""What an evaluation compares: methods and budgets, or the variants of an ablation, as data.

Nothing runs here: running is in `lab.evaluation.job`, figures are in `lab.evaluation.results`.
"""
