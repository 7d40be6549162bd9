"""The forms that captions are taken away in: items to names and bytes, one file a form.

No storage and no reading: `pipeline.export.exporter` hands on the items and stores what comes out.
"""
