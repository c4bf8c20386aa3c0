"""The house itself: public names, import arrows, what the wheel holds, what happens at import."""

import ast
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module, metadata
from pathlib import Path

import pytest

import anygen

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "anygen"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# who must not be imported by whom; every other arrow points from a caller to what it calls
FORBIDDEN = {
    "encoders": (
        "generators",
        "engine",
        "chat",
        "story",
        "cli",
        "cli_chat",
        "cli_data",
        "evaluation",
        "playground",
        "training",
    ),
    "generators": (
        "encoders",
        "engine",
        "chat",
        "story",
        "cli",
        "cli_chat",
        "cli_data",
        "evaluation",
        "playground",
        "training",
    ),
    "codecs": ("encoders", "generators", "engine", "media", "reply", "model", "cli", "cli_chat", "cli_data"),
    "media": ("encoders", "generators", "engine", "reply", "model", "cli", "cli_chat", "cli_data"),
    "model": ("engine", "chat", "story", "cli", "cli_chat", "cli_data"),
    "engine": ("chat", "story", "cli", "cli_chat", "cli_data", "evaluation", "playground", "training"),
    "playground": ("encoders", "generators", "engine", "model", "cli", "cli_chat", "cli_data"),
}
# these build an object of the layer above on request: `engine.chat()`, `engine.story()`
LAZY = {("engine", "chat"), ("engine", "story")}


def imports(path: Path) -> set[str]:
    """The first-level modules of anygen that a file imports at its top level or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"anygen.{alias.name}" for alias in node.names] if node.module == "anygen" else []
            names = inner or [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("anygen.")}
    return found


def test_public_names_are_pinned() -> None:
    assert anygen.__all__ == [
        "AnyGenError",
        "Audio",
        "Chat",
        "Engine",
        "Image",
        "Reply",
        "Story",
        "Text",
        "Video",
        "__version__",
        "load",
        "pipeline",
    ]
    for name in anygen.__all__:
        assert getattr(anygen, name) is not None
    assert set(anygen.__all__) <= set(dir(anygen))
    with pytest.raises(AttributeError, match="module 'anygen' has no attribute 'frob'"):
        _ = anygen.frob


def test_the_version_is_the_installed_one() -> None:
    assert anygen.__version__ == metadata.version("anygen")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_arrows_point_one_way(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    wrong = {name for name in imports(path) & set(FORBIDDEN.get(layer, ())) if (layer, name) not in LAZY}
    assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_and_stays_short(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
    assert text.count("\n") <= 560, f"{path.relative_to(ROOT)} is too long: split it"


def test_import_is_light() -> None:
    code = (
        "import sys, anygen; print(sorted({'torch', 'numpy', 'PIL', 'transformers', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    code = "import sys, anygen.media, anygen.reply; print(sorted({'torch', 'av', 'soundfile'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("side", ["encoders", "generators"])
def test_the_two_sides_are_linked_at_the_top(side: str) -> None:
    assert (ROOT / side).is_symlink() and (ROOT / side).resolve() == PACKAGE / side
    assert import_module(f"anygen.{side}").__doc__


def test_the_wheel_holds_only_the_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / "anygen", ignore=shutil.ignore_patterns("__pycache__"))
    for side in ("encoders", "generators"):
        (source / side).symlink_to(f"anygen/{side}")
    build = "import setuptools.build_meta as b; print(b.build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    assert top == {"anygen", f"anygen-{anygen.__version__}.dist-info"}
    expected = {path.relative_to(source).as_posix() for path in (source / "anygen").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("anygen/")} == expected
    assert {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_constraints_pin_every_dependency_and_nothing_for_cuda() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    assert all("==" in line for line in lines) and "torch==2.13.0" in lines
    needed = {line.split(";")[0].strip() for line in metadata.requires("anygen") or []}
    names = {"".join(c if c.isalnum() or c in "-_." else " " for c in need).split()[0].lower() for need in needed}
    assert names - {"anygen"} <= pinned
    assert not [name for name in pinned if name.startswith(("nvidia", "triton", "torchvision", "torchaudio", "cuda"))]
