"""Pages of the web that data names, fetched within limits: by whom, how many, how large.

What a user names as input goes through fsspec (`pipeline.storage.files`); these URLs come from
tables, and nobody has looked at them.

    fetch_options  what may be fetched, and how politely
    addresses      no request into a private network
    manners        robots headers, Retry-After, and how many requests a host gets at once
    web_client     one URL -> bytes, or why not
"""
