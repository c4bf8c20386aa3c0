"""Generators: one file per modality, from a condition to a medium."""
