"""Every byte that is read or written goes through here: opening, listing, writing whole, retries.

No format and no meaning: shards are `pipeline.sources`', parts and ledger `pipeline.ledger`'s. Only
this room knows fsspec.
"""
