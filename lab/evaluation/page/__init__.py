"""Pages and pictures that show which visual tokens are kept, and what became of the answers.

Self-contained HTML and PNG. The figures on a page come from `lab.evaluation.results`.
"""
