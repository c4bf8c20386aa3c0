"""The procedural world that nano is trained and judged on."""
