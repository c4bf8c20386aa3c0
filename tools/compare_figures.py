"""Compares two figures.json of one suite: `python tools/compare_figures.py BEFORE AFTER` writes a table in Markdown.

A row has fallen, or risen, where the two 95 % intervals do not meet; the exit status is 1 where any has fallen.
"""

import json
import sys
from pathlib import Path


def compare(before: dict, after: dict) -> list[tuple[str, str, float, float, str]]:
    """Cell, row, both shares, and "fell", "rose" or "" for every row that both have."""
    rows = []
    for cell, was in before["cells"].items():
        for name, old in was.items():
            if new := after["cells"].get(cell, {}).get(name):
                moved = "fell" if new["high"] < old["low"] else "rose" if new["low"] > old["high"] else ""
                rows.append((cell, name, old["right"], new["right"], moved))
    return rows


def table(rows: list[tuple[str, str, float, float, str]]) -> str:
    """The rows in Markdown."""
    lines = ["| cell | row | before | after | |", "|---|---|---|---|---|"]
    lines += [f"| {cell} | {name} | {old:.3f} | {new:.3f} | {moved} |" for cell, name, old, new, moved in rows]
    return "\n".join(lines)


def main(before: str, after: str) -> int:
    """Prints the table; 1 if a row fell."""
    rows = compare(*(json.loads(Path(path).read_text(encoding="utf-8")) for path in (before, after)))
    print(table(rows))
    return int(any(moved == "fell" for *_, moved in rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
