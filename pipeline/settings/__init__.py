"""What was asked for: the typed configuration and the fingerprint of what changes a caption.

Reading flags and files is `pipeline.job.cli`'s; what there is to run on, `pipeline.resources`'.
"""
