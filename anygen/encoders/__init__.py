"""Encoders: one file per modality, from a medium to features."""
