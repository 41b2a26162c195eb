"""Synthetic transcripts with known contents: one module per agent, made by `corpus.py`."""
