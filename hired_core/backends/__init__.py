"""What generates text from a prompt and kept tokens, behind `base.Backend`.

One backend a file or folder: `slots`, the memory-bounded engine; `reference`, transformers' own
`generate`. How a request is laid out is not decided here (`hired_core.language`).
"""
