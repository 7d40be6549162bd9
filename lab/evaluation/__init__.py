"""Scenes with known content, the questions asked about them, and the metrics."""
