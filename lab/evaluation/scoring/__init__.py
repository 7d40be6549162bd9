"""How right answers are: one module per metric, and what all of them have in common."""
