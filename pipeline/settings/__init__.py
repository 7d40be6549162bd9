"""What was asked for: the typed configuration and the fingerprint of what changes a caption.

Reading flags and files is `pipeline.command_line`'s; what there is to run on,
`pipeline.resources`'.
"""
