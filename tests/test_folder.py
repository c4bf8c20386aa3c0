"""Training on a data set of one's own: what is frozen is computed once, and what is wrong is named."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripted import picture

from anygen.cli import main
from anygen.error import DataError
from anygen.generators.image import ImageGenerator
from anygen.media import Audio, Image, Video
from anygen.model import AnyGenModel
from anygen.playground.dataset import write_dataset
from anygen.testing import tiny_model
from anygen.training.alignment import AlignmentStage
from anygen.training.cache import FeatureCache, fingerprint, key_of
from anygen.training.folder import FolderChats
from anygen.training.loop import FitOptions, fit
from anygen.training.recipe import recipe_for
from anygen.training.run import Run

ALL = {"input", "output", "signals", "lora"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with room for the playground's stories spelt in bytes."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", context=4096)


@pytest.fixture(scope="module")
def model(folder: Path) -> AnyGenModel:
    return AnyGenModel.load(folder)


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "edits", 6, size=16, task="edit")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many pictures were encoded and how many captions read."""
    count: Counter[str] = Counter()
    encode, condition = AnyGenModel.encode, ImageGenerator.condition

    def counted_encode(self: Any, modality: str, media: Any) -> Any:
        count["encoded"] += len(media)
        return encode(self, modality, media)

    def counted_condition(self: Any, texts: Any) -> Any:
        count["read"] += sum(bool(text) for text in texts)
        return condition(self, texts)

    monkeypatch.setattr(AnyGenModel, "encode", counted_encode)
    monkeypatch.setattr(ImageGenerator, "condition", counted_condition)
    return count


def write(folder: Path, *contents: Any, media: int = 1) -> Path:
    """A data set of one-turn chats, each (what the user shows, what the assistant answers)."""
    folder.mkdir()
    lines = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]}
        for asked, said in contents
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number in range(media):
        picture(10 * number, 16).save(folder / f"{number}.png")
    return folder


SHOWN = {"type": "image", "path": "0.png"}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_features_are_computed_once(model: AnyGenModel, edits: Path, tmp_path: Path, calls: Counter[str]) -> None:
    first = FolderChats(edits, model, ALL, FeatureCache(tmp_path))
    made = dict(calls)
    assert len(first) == 6 and made["encoded"] == 6 and 1 <= made["read"] <= 6
    for step in range(4):  # two epochs of three chats a batch, and more
        first.prepare(step, 3, seed=0)
    assert dict(calls) == made
    again = FeatureCache(tmp_path)
    second = FolderChats(edits, model, ALL, again)
    assert dict(calls) == made and again.made == 0 and again.hits == made["encoded"] + made["read"] == len(again)
    one, two = first.prepare(1, 3, seed=0), second.prepare(1, 3, seed=0)
    assert one.keys() == two.keys() == {"ids", "labels", "features_image", "conditions_image"}
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_batch_holds_what_the_networks_say(model: AnyGenModel, tmp_path: Path) -> None:
    data = write(
        tmp_path / "set",
        ([SHOWN, text("Redraw it.")], [text("a cat"), {"type": "image", "path": "1.png"}]),
        ("Draw a dog.", [text("Here."), {"type": "image", "path": "1.png", "caption": "a dog"}]),
        media=2,
    )
    chats = FolderChats(data, model, ALL, FeatureCache(tmp_path / "cache"), pictures=True)
    batch = chats.prepare(0, 2, seed=0)
    torch.testing.assert_close(batch["features_image"], model.encode("image", [Image(data / "0.png")]))
    order = [chats._place(row, seed=0) for row in range(2)]
    wanted = model.generator("image").condition(["a cat", "a dog"])
    torch.testing.assert_close(batch["conditions_image"], wanted[order])
    for row, place in enumerate(order):
        ids = chats.chats[place].ids
        assert batch["ids"][row, : len(ids)].tolist() == ids
    assert batch["drawn"].shape == (2, 3, 16, 16) and batch["drawn"].unique().tolist() == [10]


def test_every_chat_comes_once_an_epoch(model: AnyGenModel, edits: Path, tmp_path: Path) -> None:
    chats = FolderChats(edits, model, {"input"}, FeatureCache(tmp_path))
    epochs = [[chats._place(number, seed=1) for number in range(6 * e, 6 * e + 6)] for e in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs) and epochs[0] != epochs[1]
    assert [chats._place(number, seed=2) for number in range(6)] != epochs[0]


@pytest.mark.parametrize("train", [{"input"}, {"output", "signals"}, ALL], ids=["stage1", "stage2", "stage3"])
def test_a_stage_learns_from_a_folder(folder: Path, edits: Path, tmp_path: Path, train: set[str]) -> None:
    model = AnyGenModel.load(folder)
    diffusion = 0.1 if "output" in train else 0.0
    data = FolderChats(edits, model, train, FeatureCache(tmp_path / "features"), pictures=diffusion > 0)
    stage = AlignmentStage("own", model, {}, train, rank=2, diffusion=diffusion, data=data)
    losses = stage(data.prepare(0, 2, seed=0), torch.Generator().manual_seed(0))
    assert losses.keys() == ({"text", "condition_image", "diffusion_image"} if diffusion else {"text"})
    before = {name: p.detach().clone() for name, p in stage.named_parameters()}
    fit(stage, FitOptions(steps=1, batch=2, rate=1e-2, warmup=1, precision="no", sample_every=1), tmp_path)
    moved = {name for name, p in stage.named_parameters() if not torch.equal(p, before[name])}
    assert any("input_projectors" in name for name in moved) == ("input" in train)
    assert any("output_projectors" in name for name in moved) == ("output" in train)
    assert (tmp_path / "samples" / "0000001.txt").read_text().count("wanted: ") == 6


def test_a_recipe_starts_from_a_model_and_a_folder(folder: Path, edits: Path, tmp_path: Path) -> None:
    short = ["stage3.steps=1", "stage3.batch=2", "stage3.precision=no", "rank=2", "stage3.workers=0"]
    run = Run(recipe_for("nano", [f"data={edits}", f"start={folder}", *short]), tmp_path)
    assert list(run.steps) == ["stage1", "stage2", "stage3", "model"]
    assert run.start("stage3", resume=False)
    tuned = AnyGenModel.load(tmp_path / "stage3" / "model")
    assert tuned.writes == ("image",) and len(FeatureCache(tmp_path / "features"))
    with pytest.raises(DataError, match="step 'stage3' is not finished"):
        Run(run.recipe, tmp_path / "other").start("model", resume=False)


@pytest.mark.parametrize(
    ("chat", "train", "message"),
    [
        (
            ([SHOWN, text("Redraw it.")], [SHOWN, text("there")]),
            ALL,
            "data.jsonl:1: the image 0.png of the assistant has",
        ),
        (([text("hello")], [text("hi")]), {"input"}, "no chat of .* shows a medium"),
        (([SHOWN, text("hello")], [text("hi")]), {"output"}, "no chat of .* has a medium in its answer"),
        (([{"type": "image", "path": "9.png"}], [text("hi")]), ALL, "missing image 9.png"),
        (([{**SHOWN, "title": "x"}], [text("hi")]), ALL, "unknown key 'title'; known are type, text, path, caption"),
        (([{**SHOWN, "caption": " "}], [text("hi")]), ALL, "'caption' must be a string that is not empty"),
        (([{"type": "audio", "path": "0.png"}], [text("hi")]), ALL, "data.jsonl:1: no encoder for 'audio'"),
        (("hi", [text("hi"), {"type": "audio", "path": "0.png"}]), ALL, "data.jsonl:1: no generator for 'audio'"),
        (([SHOWN, text("x" * 5000)], [text("hi")]), ALL, "tokens long, the model holds 4096: shorten it"),
    ],
)
def test_what_is_wrong_is_named(model: AnyGenModel, tmp_path: Path, chat: Any, train: set[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FolderChats(write(tmp_path / "set", chat), model, train, FeatureCache(tmp_path / "cache"))


def test_a_file_that_is_no_picture_is_named(model: AnyGenModel, tmp_path: Path) -> None:
    data = write(tmp_path / "set", ([SHOWN, text("What?")], [text("hi")]))
    (data / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="0.png is not an image"):
        FolderChats(data, model, ALL, FeatureCache(tmp_path / "cache"))


def test_keys_depend_on_weights_and_content(model: AnyGenModel) -> None:
    encoder = AnyGenModel.load(model.folder).encoders["image"]  # type: ignore[arg-type]
    mark = fingerprint(encoder)
    assert mark == fingerprint(model.encoders["image"])
    with torch.no_grad():
        encoder.class_token[..., 0] += 1e-3
    assert fingerprint(encoder) != mark
    assert key_of(mark, b"a") != key_of(mark, b"b")


def test_a_cache_is_written_shard_by_shard(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, shard=2)
    keys = ["a", "b", "a", "c"]
    seen: list[list[int]] = []

    def make(places: list[int]) -> torch.Tensor:
        seen.append(places)
        return torch.tensor([[ord(keys[place])] for place in places])

    cache.fill(keys, make)
    assert seen == [[0, 1], [3]] and (cache.hits, cache.made) == (0, 3)
    assert cache.read(keys).tolist() == [[97], [98], [97], [99]]
    assert len(list(tmp_path.glob("*.safetensors"))) == len(list(tmp_path.iterdir())) == 2
    assert FeatureCache(tmp_path).read(["c", "a"]).tolist() == [[99], [97]]
    next(tmp_path.iterdir()).write_bytes(b"broken")
    with pytest.raises(DataError, match="is no shard of cached features .* delete it"):
        FeatureCache(tmp_path)


def test_the_command_caches_what_training_will_ask_for(
    folder: Path, edits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], calls: Counter[str]
) -> None:
    kept = tmp_path / "features"
    order = ["data", "cache", str(edits), "--model", str(folder), "-o", str(kept)]
    assert main(order) == 0
    made = dict(calls)
    assert main(order) == 0 and dict(calls) == made
    first, second = capsys.readouterr().out.splitlines()
    number = int(first.split(": ")[1].split()[0])
    assert (
        number > 0 and first == f"{kept}: {number} features, {number} of them new" and second.endswith("0 of them new")
    )
    FolderChats(edits, AnyGenModel.load(folder), ALL, FeatureCache(kept))
    assert dict(calls) == made
    assert main(["data", "cache", str(tmp_path / "nothing"), "-o", str(kept), "--model", str(folder)]) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_film_that_is_shown_is_heard_after_its_pictures(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "tiny", context=1024, media=("image", "audio", "video")))
    dumb = Video(np.zeros((4, 16, 16, 3), np.uint8), fps=8)
    loud = dumb.with_audio(Audio(np.full(8000, 0.1), 16_000))
    films = [[{"type": "video", "path": name}, text("What is this?")] for name in ("loud.mp4", "dumb.mp4", "dumb.gif")]
    data = write(tmp_path / "set", *((film, [text("A film.")]) for film in films))
    for name, film in (("loud.mp4", loud), ("dumb.mp4", dumb), ("dumb.gif", dumb)):
        film.save(data / name)
    chats = FolderChats(data, model, {"input"}, FeatureCache(tmp_path / "cache"))
    assert [[part["type"] for part in chat.inputs] for chat in chats.chats] == [
        ["video", "audio"],
        ["video"],
        ["video"],
    ]
    shown = model.render(
        [{"role": "user", "content": [loud, "What is this?"]}, {"role": "assistant", "content": "A film."}]
    )
    assert chats.chats[0].ids == shown.ids
    batch = chats.prepare(0, 3, seed=0)
    assert (len(batch["features_video"]), len(batch["features_audio"])) == (3, 1)
    heard = model.encode("audio", [Audio(data / "loud.mp4")])
    torch.testing.assert_close(batch["features_audio"].float(), heard, atol=2e-2, rtol=2e-2)
    (_, features, _), *_ = chats.questions(3)
    assert set(features) == {"video", "audio"}
