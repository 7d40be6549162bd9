"""From settings to exit code: resolving, plan, dry run, Ray graph, run, report.

What happens to a row is in `pipeline.stages`; what is done already, in `pipeline.ledger`.
"""
