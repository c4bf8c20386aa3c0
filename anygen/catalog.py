"""Named presets and their parts: where they come from, under which licence, how large they are, what they need."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.error import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A public part of a preset: an LLM, encoders or a generator.

    `source` is a hub id or an address, `revision` what to fetch of a hub id. `commercial` is False where its licence
    forbids commercial use, None where it ties it to conditions; `licence` says which. `gigabytes` are those of what a
    load needs, in the published precision.
    """

    name: str
    kind: str
    source: str
    licence: str
    commercial: bool | None
    gigabytes: float
    revision: str = "main"
    optional: str = ""  # why a preset may go without it

    @property
    def folder(self) -> Path:
        """Where it is looked for."""
        return home() / "parts" / self.name

    def describe(self) -> dict[str, Any]:
        """The part's row in `anygen list --json`."""
        return {
            "name": self.name,
            "kind": self.kind,
            "source": self.source,
            "revision": self.revision,
            "licence": self.licence,
            "commercial": self.commercial,
            "gigabytes": self.gigabytes,
            "optional": self.optional or None,
            "folder": str(self.folder),
        }

    def fetch(self) -> str:
        """What brings it here."""
        if "://" in self.source:
            return f"fetch {self.source} into {self.folder}"
        return f"`hf download {self.source} --revision {self.revision} --local-dir {self.folder}`"


def home() -> Path:
    """Where parts and presets lie that do not come with the package: $ANYGEN_HOME, or ~/.cache/anygen."""
    return Path(os.environ.get("ANYGEN_HOME") or "~/.cache/anygen").expanduser()


_NC = "CC-BY-NC-SA-4.0"
_STABILITY = "Stability AI Community (free below 1 M USD of revenue)"
_OPEN_AUDIO = "no Apache or MIT model makes sounds from embeddings: leave it out for a wholly permissive set"

PARTS = {
    part.name: part
    for part in (
        Part(
            name="imagebind_huge",
            kind="encoders",
            source="https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth",
            revision="",
            licence=_NC,
            commercial=False,
            gigabytes=4.8,
        ),
        Part(
            name="vicuna-7b-v0",
            kind="llm",
            source="lmsys/vicuna-7b-delta-v0",
            licence="Llama 1 licence, research only (a delta: Meta's LLaMA-7B is needed as well)",
            commercial=False,
            gigabytes=13.5,
        ),
        Part(
            name="nextgpt_7b_tiva_v0",
            kind="projectors",
            source="ChocoWu/nextgpt_7b_tiva_v0",
            licence=_NC,
            commercial=False,
            gigabytes=0.8,
        ),
        Part(
            name="stable-diffusion-1.5",
            kind="image",
            source="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            licence="CreativeML OpenRAIL-M (use restrictions)",
            commercial=None,
            gigabytes=2.1,
        ),
        Part(
            name="zeroscope-576w",
            kind="video",
            source="cerspense/zeroscope_v2_576w",
            licence="CC-BY-NC-4.0",
            commercial=False,
            gigabytes=3.7,
        ),
        Part(
            name="audioldm-l-full",
            kind="audio",
            source="cvssp/audioldm-l-full",
            licence=_NC,
            commercial=False,
            gigabytes=2.0,
        ),
        Part(
            name="qwen3-4b",
            kind="llm",
            source="Qwen/Qwen3-4B",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=8.0,
        ),
        Part(
            name="qwen3-8b",
            kind="llm",
            source="Qwen/Qwen3-8B",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=16.4,
        ),
        Part(
            name="siglip2-so400m",
            kind="encoders",
            source="google/siglip2-so400m-patch14-384",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=0.9,
        ),
        Part(
            name="clap-general",
            kind="encoders",
            source="laion/larger_clap_general",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=0.2,
        ),
        Part(
            name="flux2-klein-4b",
            kind="image",
            source="black-forest-labs/FLUX.2-klein-4B",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=7.9,
        ),
        Part(
            name="z-image-turbo",
            kind="image",
            source="Tongyi-MAI/Z-Image-Turbo",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=12.5,
        ),
        Part(
            name="wan2.1-1.3b",
            kind="video",
            source="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=3.1,
        ),
        Part(
            name="wan2.2-5b",
            kind="video",
            source="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
            licence="Apache-2.0",
            commercial=True,
            gigabytes=11.4,
        ),
        Part(
            name="stable-audio-open",
            kind="audio",
            source="stabilityai/stable-audio-open-1.0",
            licence=_STABILITY,
            commercial=None,
            gigabytes=2.5,
            optional=_OPEN_AUDIO,
        ),
        Part(
            name="musicgen-small",
            kind="audio",
            source="facebook/musicgen-small",
            licence="CC-BY-NC-4.0",
            commercial=False,
            gigabytes=2.4,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A model with a name: the folder it lies in, its parts, and what one should know before using it."""

    name: str
    about: str
    licence: str
    needs: str
    bundled: Path | None = None
    parts: tuple[str, ...] = ()
    make: str = ""  # how the folder comes about, once the parts are here

    @property
    def folder(self) -> Path:
        """The model folder."""
        return self.bundled or home() / "presets" / self.name

    @property
    def bytes(self) -> int:
        """Size of all files of the folder; 0 if it is not here."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def restricted(self) -> list[Part]:
        """The parts that are not for commercial use."""
        return [PARTS[name] for name in self.parts if PARTS[name].commercial is False]

    def describe(self) -> dict[str, Any]:
        """The preset's row in `anygen list --json`."""
        reads, writes = modalities(self.folder)
        return {
            "name": self.name,
            "about": self.about,
            "licence": self.licence,
            "needs": self.needs,
            "reads": reads,
            "writes": writes,
            "bytes": self.bytes,
            "folder": str(self.folder),
            "non_commercial": [part.name for part in self.restricted],
            "parts": [PARTS[name].describe() for name in self.parts],
        }


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="nano",
            about="trained by this project from nothing on its playground, comes with the package",
            licence="Apache-2.0",
            needs="a CPU, 1 GB of memory",
            bundled=Path(__file__).parent / "models" / "nano",
        ),
        Preset(
            name="nextgpt",
            about="the paper's parts: Vicuna-7B, ImageBind, Stable Diffusion 1.5, ZeroScope, AudioLDM",
            licence="non-commercial",
            needs="31 GB of GPU memory with all parts resident, 14 GB one stage at a time",
            parts=(
                "vicuna-7b-v0",
                "imagebind_huge",
                "nextgpt_7b_tiva_v0",
                "stable-diffusion-1.5",
                "zeroscope-576w",
                "audioldm-l-full",
            ),
            make="anygen convert nextgpt {nextgpt_7b_tiva_v0} --base {vicuna-7b-v0} -o {folder}",
        ),
        Preset(
            name="open-24gb",
            about="Qwen3-4B, SigLIP 2, CLAP, FLUX.2 klein, Wan 2.1, Stable Audio Open; you train its projectors",
            licence="Apache-2.0 but for optional sound",
            needs="a GPU with 24 GB: 13 GB one stage at a time, 32 GB with all parts resident",
            parts=("qwen3-4b", "siglip2-so400m", "clap-general", "flux2-klein-4b", "wan2.1-1.3b", "stable-audio-open"),
            make="anygen convert transformers {qwen3-4b} -o {folder}, then train its projectors with `anygen train`",
        ),
        Preset(
            name="open-80gb",
            about="Qwen3-8B, SigLIP 2, CLAP, Z-Image Turbo, Wan 2.2, Stable Audio Open; you train its projectors",
            licence="Apache-2.0 but for optional sound",
            needs="a GPU with 80 GB: 67 GB with all parts resident",
            parts=("qwen3-8b", "siglip2-so400m", "clap-general", "z-image-turbo", "wan2.2-5b", "stable-audio-open"),
            make="anygen convert transformers {qwen3-8b} -o {folder}, then train its projectors with `anygen train`",
        ),
    )
}


READ = ("image", "audio", "video", "depth", "thermal", "imu")


def modalities(folder: Path) -> tuple[list[str], list[str]]:
    """What a model folder reads and what it writes, by its anygen.json; two empty lists if that cannot be read."""
    try:
        parts = json.loads((folder / "anygen.json").read_text(encoding="utf-8"))
        sides = [set(parts[side]) for side in ("encoders", "generators")]
    except (OSError, ValueError, KeyError, TypeError):
        return [], []
    reads, writes = (["text", *(m for m in READ if m in side)] for side in sides)
    return reads, writes


def find(model: str | Path | None = None) -> Path:
    """The folder of a preset's name or of a path; without either, of the bundled nano."""
    name = "nano" if model is None else str(model)
    folder = PRESETS[name].folder if name in PRESETS else Path(name)
    if (folder / "anygen.json").is_file():
        return folder
    if name in PRESETS and PRESETS[name].bundled is not None:
        raise ModelError(
            f"preset {name!r} is not in this installation: {folder} has no anygen.json; install anygen again"
        )
    if name in PRESETS:
        raise ModelError(missing(PRESETS[name]))
    if name in PARTS:
        raise ModelError(
            f"{name!r} is no model but a part of models, of the kind {PARTS[name].kind}, under {PARTS[name].licence}: "
            f"{PARTS[name].fetch()} and name it in a model's anygen.json"
        )
    if folder.is_dir():
        raise ModelError(f"{folder} is no model folder: it has no anygen.json")
    raise ModelError(f"unknown model {name!r}: it is neither a folder nor a preset; presets are {', '.join(PRESETS)}")


def missing(preset: Preset) -> str:
    """What to fetch for a preset, and where it goes."""
    absent = [PARTS[name] for name in preset.parts if not PARTS[name].folder.exists()]
    places = {name: str(PARTS[name].folder) for name in preset.parts} | {"folder": str(preset.folder)}
    make = preset.make
    for name, place in places.items():
        make = make.replace(f"{{{name}}}", place)
    steps = [f"{part.fetch()} ({part.licence})" for part in absent] + [make]
    return f"preset {preset.name!r} is not here (no {preset.folder}): " + "; ".join(steps)


def place_of(name: str) -> Path:
    """The folder of a part that a model folder names as `catalog:NAME`."""
    if name not in PARTS:
        raise ModelError(f"no part {name!r} in the catalog; parts are {', '.join(PARTS)}")
    part = PARTS[name]
    if not part.folder.exists():
        raise ModelError(f"{name} is not here ({part.licence}, {part.gigabytes:g} GB): {part.fetch()}")
    return part.folder
