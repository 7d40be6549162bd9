"""Rows of tables: Parquet, Arrow files, and manifests in CSV, TSV and JSON lines.

What an image is that a table only names is found out in `pipeline.sources.named`.

    columns        which columns are usable, and rows out of them
    image_column   bytes, paths, structs of both, lists of these
    parquet, arrow_dataset, manifest   one file a format
    csv_records    the records of a CSV file, good and bad
    validate       Arrow data checked before anything follows its offsets
"""
