"""Following while it happens.

`following` is the thread that watches, reads what is new and tells it; `watching` sees what changed
on disk, with `hints` of the system; `replay` tells the journal; `ring` keeps the newest changes for
those who listen; `daemon` is the process in the background.
"""
