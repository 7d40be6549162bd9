"""What a row is and how it fails: schemas, error codes, ids as sums, texts that may be shown.

The ground of the package: nothing here imports another room of it.
"""
