"""What a new user meets first: the README's code runs, the documented --help is the real one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anygen import cli
from anygen.catalog import PRESETS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = (
    "generate",
    "chat",
    "story",
    "demo",
    "train",
    "convert",
    "eval",
    "data",
    "list",
    "plan",
    "bench",
    "doctor",
)
bundled = pytest.mark.skipif(not PRESETS["nano"].folder.exists(), reason="no bundled model in this checkout")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@bundled
@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_the_readme_runs(number: int, tmp_path: Path) -> None:
    code = blocks(README, "python")[number]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.png"))


@bundled
@pytest.mark.parametrize("line", re.findall(r"^    anygen (generate .*|story .*)$", README, re.MULTILINE))
def test_the_readmes_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    monkeypatch.chdir(tmp_path)
    words = [str(ROOT / word) if word.startswith("demos/") else word for word in shlex.split(line, comments=True)]
    assert cli.main(words) == 0


def shown(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out.strip()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help differently in each version")
def test_the_documented_help_is_the_real_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`UPDATE_DOCS=1 pytest tests/test_front_door.py` writes docs/cli.md anew."""
    parts = [[], *([name] for name in COMMANDS)]
    parts += [["convert", name] for name in ("nextgpt", "transformers", "diffusers")]
    parts += [["data", name] for name in ("sample", "import", "check", "pack", "cache")]
    text = "# Command line\n"
    for words in parts:
        title = " ".join(["anygen", *words])
        text += f"\n## {title}\n\n```\n{shown(words, capsys, monkeypatch)}\n```\n"
    path = ROOT / "docs" / "cli.md"
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(text)
    assert path.read_text() == text
