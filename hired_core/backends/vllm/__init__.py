"""vLLM as a backend: requests become prompt embeddings, and its engine, a process of its own, runs
the decoder. What it takes, what it is told, and how its time is shared out. vLLM itself is imported
where an engine is started, and nowhere else.
"""
