"""Search: what people type, the index that knows where words stand, and what stands there.

`grammar` takes a query apart and `patterns` a regular expression; `indexing` keeps the text index
up with the store; `answering` answers a query from the index, `scanning` tries a pattern on the
bytes of the sources. Nothing is imported here: a command takes only the part that it needs.
"""
