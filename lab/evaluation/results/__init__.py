"""From stored answers to figures: samples, values with intervals, tables, curves.

Whether one answer is right is `lab.evaluation.scoring`'s; pages are `lab.evaluation.page`'s.
"""
