"""The kinds of `anygen data` on the command line."""

import argparse
import sys
from pathlib import Path
from typing import Any

from anygen.error import RequestError

ANNOTATIONS = ("llava", "nextgpt", "cc3m", "webvid", "audiocaps")


def add_kinds(kinds: Any) -> None:
    """Add a parser for each kind to the subparsers of `anygen data`."""
    sample = kinds.add_parser("sample", help="write a data set of conversations")
    sample.set_defaults(run=data_sample)
    sample.add_argument("world", choices=("playground",), metavar="WORLD", help="playground")
    sample.add_argument("-n", "--n", type=int, default=100, metavar="N", help="how many conversations (default: 100)")
    _output(sample, "where it is written")
    seed = "the same seed gives the same data (default: 0)"
    sample.add_argument("--seed", type=int, default=0, metavar="N", help=seed)
    sample.add_argument("--split", choices=("train", "heldout"), default="train", help="which half of the world")
    sample.add_argument("--size", type=int, default=64, metavar="PIXELS", help="side of the pictures (default: 64)")
    sample.add_argument("--without-audio", action="store_true", help="only chats for a model that cannot hear")
    sample.add_argument("--with-video", action="store_true", help="also chats for a model that watches and makes films")
    bring = kinds.add_parser("import", help="make a data set from public annotations and their media")
    bring.set_defaults(run=data_import)
    bring.add_argument("format", choices=ANNOTATIONS, metavar="FORMAT", help=", ".join(ANNOTATIONS))
    bring.add_argument("file", type=Path, metavar="FILE", help="the annotations")
    bring.add_argument("--media", type=Path, required=True, metavar="DIR", help="the folder of the media they name")
    _output(bring, "the data set that is written")
    bring.add_argument("--strict", action="store_true", help="stop at the first row that does not fit")
    bring.add_argument("--copy", action="store_true", help="copy the media instead of linking their folder")
    check = kinds.add_parser("check", help="check a data set: format, files, sizes")
    check.set_defaults(run=data_check)
    check.add_argument("directory", type=Path, metavar="DIR", help="the data set, or a folder of its shards")
    wrap = kinds.add_parser("pack", help="pack a data set into tar shards as webdataset has them")
    wrap.set_defaults(run=data_pack)
    wrap.add_argument("directory", type=Path, metavar="DIR", help="the data set")
    _output(wrap, "the folder of the shards")
    wrap.add_argument("--shard-size", type=int, default=1000, metavar="N", help="chats in a shard (default: 1000)")
    cache = kinds.add_parser("cache", help="run a model's frozen parts over a data set once, for training")
    cache.set_defaults(run=data_cache)
    cache.add_argument("directory", type=Path, metavar="DIR", help="the data set, or a folder of its shards")
    cache.add_argument("--model", metavar="M", help="a preset or a model folder (default: nano)")
    cache.add_argument("--processes", type=int, default=1, metavar="N", help="that share the work (default: 1)")
    _output(cache, "where features are kept: OUTPUT/features of a run")


def _output(parser: Any, text: str) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=text, required=True)


def data_sample(args: argparse.Namespace) -> int:
    """`anygen data sample`."""
    if args.n < 1:
        raise RequestError(f"--n {args.n}: write at least 1 conversation")
    from anygen.playground.dataset import write_dataset

    media: tuple[str, ...] = ("image",) if args.without_audio else ("image", "audio")
    media += ("video",) if args.with_video else ()
    write_dataset(args.output, args.n, args.seed, args.split, args.size, media=media)
    print(args.output)
    return 0


def data_import(args: argparse.Namespace) -> int:
    """`anygen data import`."""
    from anygen.training.importing import SKIPPED, convert_annotations

    made = convert_annotations(args.format, args.file, args.media, args.output, strict=args.strict, copy=args.copy)
    if made.skipped:
        print(f"what was left out is in {args.output / SKIPPED}", file=sys.stderr, flush=True)
    print(made)
    return 0


def data_check(args: argparse.Namespace) -> int:
    """`anygen data check`."""
    from anygen.training.data import check

    print(check(args.directory))
    return 0


def data_pack(args: argparse.Namespace) -> int:
    """`anygen data pack`."""
    from anygen.training.shards import pack

    count = pack(args.directory, args.output, args.shard_size)
    print(f"{args.output}: {count} shard{'s' * (count != 1)}")
    return 0


def data_cache(args: argparse.Namespace) -> int:
    """`anygen data cache`."""
    from anygen.catalog import find
    from anygen.training.precompute import precompute

    whole, new = precompute(args.directory, find(args.model), args.output, args.processes)
    print(f"{args.output}: {whole} features, {new} of them new")
    return 0
