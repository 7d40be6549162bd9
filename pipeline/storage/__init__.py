"""Every byte that is read or written goes through here: opening, listing, writing whole, retries.

No format and no meaning: shards are `pipeline.sources`', parts `pipeline.parts`', the ledger
`pipeline.ledger`'s. Only this room knows fsspec.

    files         opening by URL, failures told apart from bad data
    walk          listing folders and patterns
    store         named blobs below one URL
    atomic_write  a file appears whole or not at all
    retry         which failures pass by themselves
    renewal       credentials that run out while a job runs
    bounded       the bytes of one file that data names, if they are not too many
    web           pages that data names, fetched within limits
"""
