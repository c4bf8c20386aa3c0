"""Plain arrays to and from the bytes of files: one file per medium, and where the bytes come from."""
