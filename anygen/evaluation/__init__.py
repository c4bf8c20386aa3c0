"""Suites, metrics and the judge."""
