"""Images that a table only names: where a path or URL may lead, and what is there.

Files are opened and pages fetched by `pipeline.storage`; which columns name images, the tables say.

    places       a path or URL of a table -> the file or page that is meant, or why none
    bring        the images of rows, several under way at once, in the order of the rows
    hub_dataset  `hf-dataset:NAME:CONFIG:SPLIT` -> the Parquet files of a dataset on the Hub
"""
