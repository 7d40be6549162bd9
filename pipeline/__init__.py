"""Ray Data stages, storage, evaluation and training around hired_core."""
