"""The engine: requests in a fixed number of regions of one key-value cache, refilled as they end.

Cache, decoder, sampling, graphs and the memory they take. What a request is: `hired_core.language`.
"""
