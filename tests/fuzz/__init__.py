"""Fuzzing: seeded, reproducible, of everything that reads what others wrote."""
