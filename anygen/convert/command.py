"""The sources of `anygen convert` on the command line."""

import argparse
from pathlib import Path
from typing import Any

from anygen.error import RequestError


def add_sources(sources: Any) -> None:
    """Add a parser for each source to the subparsers of `anygen convert`."""
    first = sources.add_parser("nextgpt", help="NExT-GPT's published checkpoint, with its Vicuna")
    first.set_defaults(run=nextgpt)
    first.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder, or pytorch_model.pt")
    first.add_argument("--base", type=Path, required=True, metavar="DIR", help="the Vicuna-7B-v0 folder")
    first.add_argument(
        "--states",
        choices=("at", "before"),
        default="at",
        help="hidden states at the signals, as it was trained, or those before them (default: at)",
    )
    first.add_argument("--keep-adapter", action="store_true", help="keep LoRA beside the LLM instead of merging it")
    for flag, what in (("--encoder", "an encoder"), ("--generator", "a generator")):
        about = f"another place of {what}: a folder, hub:ID@REVISION or catalog:NAME; may be repeated"
        first.add_argument(flag, action="append", default=[], metavar="MODALITY=WHERE", help=about)
    _output(first, "the model folder that is written")
    for name, about in (
        ("transformers", "a causal LLM: a model folder around it, with this project's tokens; MusicGen: as diffusers"),
        ("diffusers", "a pipeline: the same folder, checked, with safetensors only"),
    ):
        one = sources.add_parser(name, help=about)
        one.set_defaults(run=part, what=name)
        one.add_argument("source", metavar="DIR_OR_ID", help="a folder, or a hub id with its @revision")
        _output(one, "the folder that is written")


def _output(parser: Any, text: str) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=text, required=True)


def nextgpt(args: argparse.Namespace) -> int:
    """`anygen convert nextgpt`."""
    from anygen.convert.nextgpt import HIDDEN, convert

    said: dict[str, dict[str, str]] = {"encoder": {}, "generator": {}}
    for kind, places in said.items():
        for item in getattr(args, kind):
            modality, _, where = item.partition("=")
            if modality not in HIDDEN or not where:
                raise RequestError(f"--{kind} {item!r} is not MODALITY=WHERE; modalities are {', '.join(HIDDEN)}")
            places[modality] = where
    made = convert(
        args.checkpoint,
        args.base,
        args.output,
        states=args.states,
        merge=not args.keep_adapter,
        encoders=said["encoder"],
        generators=said["generator"],
    )
    print(made)
    return 0


def part(args: argparse.Namespace) -> int:
    """`anygen convert transformers` and `anygen convert diffusers`."""
    from anygen.convert import parts
    from anygen.folder import locate
    from anygen.weights import read_config

    source = Path(args.source)
    if not source.exists():
        if args.source.count("/") != 1:
            raise RequestError(f"{args.source} is neither a folder nor a hub id such as owner/name@revision")
        source = locate(None, f"hub:{args.source}" if "@" in args.source else f"hub:{args.source}@main")
    make = parts.convert_llm if args.what == "transformers" else parts.convert_pipeline
    if args.what == "transformers" and read_config(source / "config.json").get("model_type") == "musicgen":
        make = parts.convert_musicgen
    print(make(source, args.output))
    return 0
