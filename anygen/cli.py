"""The command `anygen`: results go to stdout, progress to stderr, a known error is one line and exit 2."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from anygen import __version__
from anygen.cli_data import add_kinds
from anygen.convert.command import add_sources
from anygen.error import AnyGenError, RequestError

MODALITIES = ("text", "image", "audio", "video")
READABLE = (*MODALITIES, "depth", "thermal", "imu")
LOADING = ("device", "dtype", "quantize", "offload")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 is success, 2 a known error, 130 a stop by Ctrl-C. Anything unexpected is a traceback."""
    try:
        args = parser().parse_args(argv)
        return args.run(args) or 0
    except AnyGenError as error:
        sys.stdout.flush()
        print(f"anygen: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anygen: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of a pipe has gone, as in `anygen list | head -1`: nothing more can be said there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other known error."""

    takes_words = False

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message} (see `{self.prog} --help`)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Let the words and options of a request mix in any order, which argparse alone does not."""
        found, unknown = super().parse_known_args(list(self._marked(args)) if self.takes_words else args, namespace)
        if unknown:  # said here, where it is known whose help shows what there is
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def _marked(self, args: Sequence[str]) -> Iterable[str]:
        """Every bare word as --word=..., a lone dash as --stdin; after `--` everything is a word."""
        options = {name: action for action in self._actions for name in action.option_strings}
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                yield from (f"--word={word}" for word in rest)
            elif arg == "-":
                yield "--stdin"
            elif not arg.startswith("-"):
                yield f"--word={arg}"
            else:
                yield arg
                if arg in options and options[arg].nargs is None:
                    yield from islice(rest, 1)


class AddPart(argparse.Action):
    """Appends (kind, value) to `parts`, so that the order of the command line is the order of the request."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parts = [*(getattr(namespace, "parts", None) or []), ((option_string or "").lstrip("-"), values)]
        namespace.parts = parts


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="anygen", description="Any-to-any generation: text, images, sound and video in and out.")
    top.add_argument("--version", action="version", version=f"anygen {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, run: Any, text: str, **settings: Any) -> Parser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", **settings)
        made.set_defaults(run=run)
        return made

    one = command(
        "generate",
        generate,
        "answer one request",
        usage="anygen generate [PARTS...] [--to MODALITY]... [-o DIR] [options]",
        epilog="PARTS are taken in the order given: bare words, --text, --image and so on, - for stdin.",
    )
    one.takes_words = True
    one.set_defaults(parts=[])
    for kind in READABLE:
        metavar = "T" if kind == "text" else "FILE"
        one.add_argument(f"--{kind}", action=AddPart, metavar=metavar, help=f"a part of the request: {kind}")
    one.add_argument("--word", action=AddPart, help=argparse.SUPPRESS)
    one.add_argument("--stdin", action=AddPart, nargs=0, help=argparse.SUPPRESS)
    one.add_argument(
        "--to",
        action="append",
        choices=MODALITIES,
        metavar="MODALITY",
        help="what the answer is to hold; may be repeated",
    )
    _output(one, "where the answer is kept (default: answer, if it holds more than text)")
    _model(one, loads=True)
    _seed(one)
    one.add_argument("--steps", type=int, metavar="N", help="sampling steps of the generators")
    one.add_argument("--guidance", type=float, metavar="G", help="how strictly the generators follow the request")
    _json(one)

    talk = command("chat", chat, "talk in the terminal; /help there says how to send files")
    _model(talk, loads=True)
    _output(talk, "where pictures, sounds and films of the conversation are kept (default: answer)")
    _seed(talk)

    book = command("story", story, "write an illustrated story")
    book.add_argument("idea", metavar="IDEA", help="what the story is about")
    book.add_argument("--pages", type=int, default=4, metavar="N", help="how many pages (default: 4)")
    _output(book, "where story.html and story.md are kept (default: story)")
    _model(book, loads=True)
    _seed(book)

    show = command("demo", demo, "open the web demo")
    _model(show, loads=True)
    show.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: 127.0.0.1)")
    show.add_argument("--port", type=int, default=7860, metavar="P", help="port to listen on (default: 7860)")

    learn = command("train", train, "train a model, all stages of a recipe or one")
    learn.add_argument("recipe", metavar="RECIPE", help="a recipe's name; `concept` teaches a thing of one's own")
    learn.add_argument("--stage", metavar="NAME", help="only this stage")
    learn.add_argument("--output", type=Path, metavar="DIR", help="where the run is kept")
    learn.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    learn.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe")
    learn.add_argument("--no-rehearsal", action="store_true", help="do not measure first how long all stages will take")
    learn.add_argument("--dry-run", action="store_true", help="only say what stages 1 to 3 train and what that takes")
    own = learn.add_argument_group("a concept of one's own", "for `anygen train concept`")
    own.add_argument("--name", metavar="N", help="what it is called, as in 'my robot'")
    own.add_argument("--images", type=Path, metavar="DIR", help="a folder with 5 to 20 pictures of it")
    own.add_argument("--sounds", type=Path, metavar="DIR", help="a folder with 1 to 10 recordings of it")
    own.add_argument("--model", metavar="M", help="the model that learns it, a preset or a folder (default: nano)")
    own.add_argument("--minutes", type=float, metavar="M", help="how long all of it may take (default: 20)")

    turn = command("convert", lambda args: 0, "turn a public checkpoint into a model folder")
    add_sources(turn.add_subparsers(metavar="SOURCE", required=True, parser_class=Parser))

    judge = command("eval", evaluate, "measure a model on held-out requests")
    judge.add_argument("suite", metavar="SUITE", help="which suite, as in `matrix`")
    _model(judge, loads=True)
    judge.add_argument("--limit", type=int, metavar="N", help="requests per cell")
    judge.add_argument("--cells", nargs="+", default=(), metavar="CELL", help="only these cells, as in '*->video'")
    _seed(judge, default=0)
    _output(judge, "where the figures and raw outputs are kept")
    _json(judge)

    data = command("data", lambda args: 0, "make or check a data set")
    add_kinds(data.add_subparsers(metavar="KIND", required=True, parser_class=Parser))

    _json(command("list", presets, "list the presets, with licence and size"))

    think = command("plan", plan, "say what a model takes in memory and time, before anything is fetched")
    think.add_argument("model", nargs="?", metavar="MODEL", help="a preset or a folder (default: nano)")
    think.add_argument("--device", metavar="D", help="cpu, cuda, or a card as rtx-4090 (default: what is here)")
    think.add_argument("--dtype", metavar="T", help="float32, bfloat16 or float16 (default: as a load has it)")
    _smaller(think)
    _json(think)

    race = command("bench", bench, "measure speed on this machine")
    _model(race)
    race.add_argument("--repeats", type=int, default=5, metavar="N", help="measurements of each work (default: 5)")
    race.add_argument(
        "--processes", type=int, default=3, metavar="N", help="runs of whole processes (default: 3; 0: none)"
    )
    _json(race)

    nurse = command("doctor", doctor, "check the installation and a model, say what is wrong and what to do")
    nurse.add_argument("model", nargs="?", metavar="MODEL", help="a preset or a folder (default: nano)")
    _json(nurse)
    return top


def _model(parser: Parser, loads: bool = False) -> None:
    parser.add_argument("--model", metavar="M", help="a preset or a model folder (default: nano)")
    if loads:
        parser.add_argument("--device", metavar="D", help="cpu or cuda (default: a GPU if there is one)")
        parser.add_argument("--dtype", metavar="T", help="float32, bfloat16 or float16 (default: float32 on a CPU)")
        _smaller(parser)


def _smaller(parser: Parser) -> None:
    parser.add_argument("--quantize", metavar="Q", help="int8 or 4bit weights: pip install 'anygen[quantize]'")
    parser.add_argument("--offload", action="store_true", help="keep on the GPU only the parts at work")


def _seed(parser: Parser, default: int | None = None) -> None:
    about = "random if left out" if default is None else f"default: {default}"
    parser.add_argument(
        "--seed", type=int, default=default, metavar="N", help=f"the same seed gives the same answer ({about})"
    )


def _output(parser: Parser, text: str) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=text)


def _json(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _loading(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `anygen.load` that were given."""
    for noisy in ("torchao", "torch.utils._pytree"):  # they tell of kernels for other GPUs, at each start
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return {name: value for name in LOADING if (value := getattr(args, name))}


def _load(args: argparse.Namespace) -> Any:
    _say(f"loading {args.model or 'nano'} ...")
    from anygen.engine import load

    return load(*([args.model] if args.model else []), **_loading(args))


def _place(output: Path) -> Path:
    """A folder that is to be written, refused before anything is computed if it is a file."""
    if output.exists() and not output.is_dir():
        raise RequestError(f"-o {output}: this is a file; name a folder, which may be new")
    return output


def request(given: Sequence[tuple[str, Any]]) -> list[Any]:
    """The parts of the command line as values; words beside each other are one text."""
    from anygen.media import READABLE, Text, parts

    found: list[Any] = []
    before = ""
    for kind, value in given:
        if kind == "word" and before == "word":
            found[-1] = Text(f"{found[-1].text} {value}")
        elif kind == "stdin":
            # a pipe's text ends with a line break that nobody said
            found += [Text(p.text.rstrip("\r\n")) if isinstance(p, Text) else p for p in parts(sys.stdin.buffer)]
        else:
            found.append(READABLE[kind](value) if kind in READABLE else Text(value))
        before = kind
    return list(parts(found))


def generate(args: argparse.Namespace) -> int:
    """`anygen generate`."""
    from anygen.request import Options

    asked = request(args.parts)
    given = {name: getattr(args, name) for name in ("to", "seed", "steps", "guidance")}
    options = {name: value for name, value in given.items() if value is not None}
    Options.of(options)  # a slip is told before a model is loaded
    output = _place(args.output or Path("answer"))
    events = _load(args).stream(asked, **options)
    reply = _follow(events, output, keep=args.output is not None, show=not args.json)
    if args.json:
        _print_json(reply.describe())
    return 0


def _follow(events: Iterable[Any], output: Path, keep: bool = False, show: bool = True) -> Any:
    """Print an answer while it is made and return it; kept in `output` if it holds media, or if it must be."""
    from anygen.reply import prepare

    reply, ready, live = None, False, sys.stderr.isatty()
    for event in events:
        if event.type == "text.delta" and show:
            print(event.text, end="", flush=True)
        elif event.type == "part.progress" and live:
            print(f"\r{event.modality}: {event.step} of {event.steps} \x1b[K", end="", file=sys.stderr, flush=True)
        elif event.type == "part.done":
            part = event.part
            if part.type != "text":
                print("\r\x1b[K" if live else "", end="", file=sys.stderr, flush=True)
                if not ready:
                    prepare(output)
                    ready = True
                part.value.save(output / part.filename)
            if show:
                print("" if part.type == "text" else output / part.filename, flush=True)
        reply = event.reply or reply
    assert reply is not None
    if keep or ready:
        reply.save(output)
    return reply


def chat(args: argparse.Namespace) -> int:
    """`anygen chat`."""
    from anygen.cli_chat import converse

    output = _place(args.output or Path("answer"))
    conversation = _load(args).chat(**({} if args.seed is None else {"seed": args.seed}))
    return converse(conversation, lambda asked, turn: _follow(conversation.stream(asked), output / f"{turn:02d}"), _say)


def story(args: argparse.Namespace) -> int:
    """`anygen story`."""
    from anygen.story import MOST_PAGES

    if not args.idea.strip():
        raise RequestError("the idea is empty: say what the story is about")
    if not 1 <= args.pages <= MOST_PAGES:
        raise RequestError(f"--pages {args.pages}: a story has 1 to {MOST_PAGES} pages")
    output = _place(args.output or Path("story"))
    made = _load(args).story(args.idea, pages=args.pages, seed=args.seed)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write the story to {output}: {error.strerror}") from None
    for name in ("story.html", "story.md"):
        made.save(output / name)
        print(output / name)
    return 0


def demo(args: argparse.Namespace) -> int:
    """`anygen demo`."""
    if not find_spec("gradio"):
        raise RequestError("the demo needs gradio: pip install 'anygen[demo]'")
    from anygen.demo import launch

    launch(_load(args), host=args.host, port=args.port)
    return 0


def train(args: argparse.Namespace) -> int:
    """`anygen train`."""
    bad = [item for item in args.set if "=" not in item]
    if bad:
        raise RequestError(f"--set {bad[0]!r} is not KEY=VALUE")
    if not find_spec("peft"):
        raise RequestError("training needs peft: pip install 'anygen[train]'")
    own = {name: getattr(args, name) for name in ("name", "images", "sounds", "model", "minutes")}
    if args.dry_run and args.recipe == "concept":
        raise RequestError("--dry-run is of recipes with the three alignment stages, not of 'concept'")
    if args.recipe == "concept":
        return train_concept(args, own)
    if given := [name for name, value in own.items() if value is not None]:
        raise RequestError(f"--{given[0]} is for `anygen train concept`, not for the recipe '{args.recipe}'")
    if args.dry_run:
        from anygen.training.dry import dry_run, table
        from anygen.training.recipe import recipe_for

        chosen = recipe_for(args.recipe, args.set)
        print(table(chosen, dry_run(chosen)))
        return 0
    from anygen.training import train as run

    rehearse = args.stage is None and not args.no_rehearsal
    run(args.recipe, stage=args.stage, output=args.output, resume=args.resume, set=args.set, rehearse=rehearse)
    return 0


def train_concept(args: argparse.Namespace, own: dict[str, Any]) -> int:
    """`anygen train concept`; prints the new model's folder once it is there."""
    if own["name"] is None:
        raise RequestError("--name is missing: say what the thing is called, as in --name 'my robot'")
    from anygen.training.concept_run import train_concept as run

    folder = run(**own, output=args.output, stage=args.stage, resume=args.resume, set=args.set)
    if (folder / "anygen.json").exists():
        print(folder)
    else:
        _say(f"{folder} is not finished; go on with --resume")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """`anygen eval`."""
    from anygen.evaluation import evaluate as run

    asked = {"limit": args.limit, "seed": args.seed, "cells": args.cells, "loading": _loading(args)}
    figures = run(args.suite, model=args.model, output=args.output, **asked)
    if args.json:
        _print_json(figures)
        return 0
    print(f"{figures['suite']} of {figures['model']}, {figures.get('split', 'heldout')}, seed {figures['seed']}")
    for pair, kinds in figures.get("cells", {}).items():
        for kind, cell in kinds.items():
            interval = f"[{cell['low']:.3f}, {cell['high']:.3f}]" if "low" in cell else ""
            print(f"  {pair:16} {kind:32} {cell['right']:.3f} {interval} n={cell['n']}")
    for name, value in figures.get("measures", {}).items():
        if not isinstance(value, dict):
            print(f"  {name}: {value}")
    if ear := figures.get("ear"):
        print(f"  the ear itself: {ear['accuracy']:.3f} on {ear['n']} clean clips")
    if watcher := figures.get("watcher"):
        print(f"  the watcher itself: {watcher['accuracy']:.3f} on {watcher['n']} clean films")
    if judge := figures.get("judge"):
        print(f"  the judge itself: {judge['accuracy']:.3f} on {judge['n']} clean renders")
    return 0


def presets(args: argparse.Namespace) -> int:
    """`anygen list`."""
    from anygen.catalog import PRESETS

    rows = [preset.describe() for preset in PRESETS.values()]
    if args.json:
        _print_json(rows)
        return 0
    for row in rows:
        size = f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "not here"
        able = f"reads {', '.join(row['reads'])}; writes {', '.join(row['writes'])}; " if row["reads"] else ""
        print(f"{row['name']:12} {size:>10}  {row['licence']:12} {row['about']}; {able}needs {row['needs']}")
        for part in row["parts"]:
            use = {False: "NOT FOR COMMERCIAL USE", None: "with conditions", True: ""}[part["commercial"]]
            said = "; ".join(word for word in (use, part["optional"]) if word)
            told = f"{part['licence']}" + (f" - {said}" if said else "")
            print(f"  {part['name']:22} {part['gigabytes']:>5.1f} GB  {part['source']}: {told}")
    return 0


def plan(args: argparse.Namespace) -> int:
    """`anygen plan`."""
    from anygen.hardware import device
    from anygen.plan_table import table
    from anygen.planning import plan as think

    chosen = device(args.device)
    told = think(args.model, chosen, args.dtype, args.quantize).describe(chosen, args.offload)
    if args.json:
        _print_json(told)
    else:
        print(table(told))
    return 0


def bench(args: argparse.Namespace) -> int:
    """`anygen bench`."""
    if args.repeats < 1:
        raise RequestError(f"--repeats {args.repeats}: measure at least once")
    if args.processes < 0:
        raise RequestError(f"--processes {args.processes}: 0 leaves whole processes out")
    from anygen.bench import measure, table
    from anygen.engine import find
    from anygen.evaluation.suites import machine

    rows = measure(find(args.model), args.repeats, args.processes)
    if args.json:
        _print_json(rows)
        return 0
    about = machine()
    print(f"{about['machine']}, {about['threads']} threads, torch {about['torch']}, Python {about['python']}")
    print(table(rows))
    return 0


def doctor(args: argparse.Namespace) -> int:
    """`anygen doctor`; 0 if nothing is wrong, else 2."""
    from anygen.doctor import diagnose, modalities

    faults = diagnose(args.model)
    reads, writes = modalities(args.model)
    if args.json:
        _print_json({"model": args.model or "nano", "reads": reads, "writes": writes, "faults": faults})
    else:
        if reads:
            print(f"{args.model or 'nano'} reads {', '.join(reads)}; writes {', '.join(writes)}")
        print("\n".join(faults) or "everything is in order")
    return 2 if faults else 0
