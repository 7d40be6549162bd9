"""What was typed or stands in YAML files -> typed settings, and the help pages about them.

Driven by the settings' own dataclasses; what the settings are is `pipeline.settings`'.
"""
