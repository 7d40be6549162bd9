"""Public benchmarks, read from local files as they are stored on the Hugging Face hub."""
