"""Feature-level bridging: who sees which features, and that writing token by token sees what one pass does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import anygen
from anygen import hardware, planning
from anygen.error import ModelError, RequestError
from anygen.model import AnyGenModel
from anygen.projectors.bridging import NOWHERE, GatedBlock, GatedConfig, GatedProjector, Held, Sight, gated, seeing
from anygen.testing import tiny_model
from anygen.training.alignment import AlignmentStage, greedy
from anygen.training.features import FeaturesStage
from anygen.training.loop import FitOptions, fit
from anygen.training.recipe import TRAINED, recipe_for
from anygen.training.run import Run


def bridged(folder: Path, opened: bool = True, every: int = 1, media: tuple[str, ...] = ("image",)) -> Path:
    """A tiny model whose LLM looks at pictures; `opened`: as if it had learnt to."""
    model = AnyGenModel.load(tiny_model(folder / "plain", media=media))
    encoder, layers = model.encoders["image"], len(model.llm.model.layers)
    sizes: dict[str, Any] = {"tokens_in": encoder.tokens, "width_in": encoder.width, "width_out": model.width}
    torch.manual_seed(3)
    projector = GatedProjector(GatedConfig(**sizes, layers=layers, heads=2, every=every))
    for name, parameter in projector.named_parameters():
        if name.endswith("gates"):
            torch.nn.init.normal_(parameter, std=2.0 * opened)
    into = dict(model.input_projectors.items()) | {"image": projector}
    parts = (model.config, model.tokenizer, model.llm, dict(model.encoders.items()), into)
    made = AnyGenModel(*parts, dict(model.output_projectors.items()), folder=model.folder)
    return made.save(folder / "bridged")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bridged(tmp_path_factory.mktemp("bridging"))


def picture(seed: int) -> anygen.Image:
    return anygen.Image(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8))


def logits(model: AnyGenModel, message: list[Any], features: torch.Tensor | None = None) -> torch.Tensor:
    """Of every place of a user's message, in one pass."""
    rendered = model.render(anygen.media.messages(message), answer=True)
    seen = torch.cat([model.encode("image", [medium]) for medium in rendered.inputs])
    projected = {"image": model.project("image", seen if features is None else features)}
    ids = torch.tensor([rendered.ids])
    with torch.no_grad(), seeing(model.sights(ids, projected)):
        return model.llm(inputs_embeds=model.embed(ids, projected)).logits[0]


def test_a_block_sees_the_last_medium_before_it_and_none_before_the_first() -> None:
    block = GatedBlock(8, 2)
    torch.nn.init.ones_(block.gates)
    x, features = torch.randn(1, 4, 8), torch.randn(1, 2, 3, 8)
    places = torch.tensor([[1, 3]])
    sight = Held(features, places).sight(torch.arange(4)[None])
    assert sight.latest.tolist() == [[-1, 0, 0, 1]]
    with torch.no_grad():
        seen = block(x, sight)
        other = block(x, Sight(torch.stack([features[0, 0], torch.randn(3, 8)])[None], sight.latest))
    assert torch.equal(seen[0, 0], x[0, 0])
    assert torch.equal(seen[0, 1:3], other[0, 1:3]) and not torch.allclose(seen[0, 3], other[0, 3])
    assert not torch.allclose(seen[0, 1:], x[0, 1:])
    assert Held(features, torch.full((1, 2), NOWHERE)).sight(torch.arange(4)[None]).latest.eq(-1).all()


def test_gates_begin_closed(tmp_path: Path) -> None:
    model = AnyGenModel.load(bridged(tmp_path, opened=False))
    message = ["What is this?", picture(0), "Say it."]
    encoder = model.encoders["image"]
    other = torch.randn(1, encoder.tokens, encoder.width)
    assert torch.equal(logits(model, message), logits(model, message, other))


def test_what_comes_before_a_picture_does_not_see_it(folder: Path) -> None:
    model = AnyGenModel.load(folder)
    message = ["Some words first.", picture(0), "What is this?"]
    rendered = model.render(anygen.media.messages(message), answer=True)
    place = rendered.ids.index(model.vocabulary.spans["image"].placeholder)
    assert rendered.ids.count(rendered.ids[place]) == 1  # one token stands for it
    encoder = model.encoders["image"]
    one = logits(model, message)
    two = logits(model, message, torch.randn(1, encoder.tokens, encoder.width))
    assert torch.equal(one[:place], two[:place])
    assert not torch.allclose(one[place + 1 :], two[place + 1 :], atol=1e-3)


def test_an_answer_written_token_by_token_is_that_of_one_pass(folder: Path) -> None:
    """Greedy answers through the engine's cache, and every token the likeliest of a pass without one."""
    engine = anygen.load(folder)
    message = [picture(1), "What is this?"]
    session_ids = engine.model.render(anygen.media.messages(message), answer=True).ids
    said = greedy_ids(engine, message)
    assert len(said) == 6
    for count in range(len(said)):
        whole = torch.tensor([session_ids + said[:count]])
        features = engine.model.encode("image", [picture(1)])
        projected = {"image": engine.model.project("image", features)}
        with torch.no_grad(), seeing(engine.model.sights(whole, projected)):
            out = engine.model.llm(inputs_embeds=engine.model.embed(whole, projected)).logits[0, -1]
        allowed = out.masked_fill(~engine.model.vocabulary.text.to(out.device), -torch.inf)
        assert int(allowed.argmax()) == said[count]


def greedy_ids(engine: anygen.Engine, message: list[Any]) -> list[int]:
    from anygen.decoding import Decoding, Session
    from anygen.request import Options

    session = Session()
    asked = engine.ask(
        session, anygen.media.messages(message), Options.of({"to": ["text"], "max_new_tokens": 6, "temperature": 0})
    )
    row = engine._row(session, asked)
    decoding = Decoding(engine.model, [row])
    while not row.finished:
        decoding.step()
    return list(row.ids)


def test_a_batch_and_a_conversation_see_what_one_request_sees(folder: Path) -> None:
    engine = anygen.load(folder)
    options: dict[str, Any] = {"to": ["text"], "max_new_tokens": 6, "seed": 0}
    requests = [[picture(1), "What is this?"], "Hello.", [picture(2), "And", picture(3), "together?"]]
    alone = [engine.generate(request, **options).text for request in requests]
    assert [reply.text for reply in engine.generate_batch(requests, **options)] == alone
    chats = engine.chat(**options), engine.chat(**options)
    for said in ([picture(1), "What is this?"], "And now?", [picture(2), "And this?"]):
        kept, forgot = chats
        forgot.session.cache = None  # all of it is run again
        assert kept.send(said).text == forgot.send(said).text
    assert kept.session.ids == forgot.session.ids


def test_stage_1_teaches_the_looking_and_nothing_else(tmp_path: Path) -> None:
    model = AnyGenModel.load(bridged(tmp_path, opened=False))
    stage = AlignmentStage("stage1", model, {"caption": 1}, TRAINED["stage1"])
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    before = {name: p.detach().clone() for name, p in stage.named_parameters()}
    fit(stage, FitOptions(steps=3, batch=2, rate=1e-2, warmup=1, precision="no"), tmp_path / "fit")
    moved = {name for name, p in stage.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(name.startswith("model.input_projectors.") for name in moved)
    assert any(name.endswith("gates") for name in moved)
    asked = model.render(anygen.media.messages([picture(1), "What is this?"]), answer=True)
    said = greedy(model, asked, {"image": model.encode("image", [picture(1)])}, tokens=4)
    assert isinstance(said, str)


def test_a_model_says_what_its_blocks_look_from(folder: Path, tmp_path: Path) -> None:
    model = AnyGenModel.load(folder)
    (projector,) = gated(model.input_projectors).values()
    assert list(projector.blocks) == ["0", "1"] and model.tokens["image"] == 1
    sparse = AnyGenModel.load(bridged(tmp_path, every=2))
    assert list(sparse.input_projectors["image"].blocks) == ["0"]
    text = (folder / "input_projectors" / "config.json").read_text()
    (folder / "input_projectors" / "config.json").write_text(text.replace('"layers": 2', '"layers": 3'))
    try:
        with pytest.raises(ModelError):
            AnyGenModel.load(folder)
    finally:
        (folder / "input_projectors" / "config.json").write_text(text)
    other = GatedProjector(GatedConfig(tokens_in=16, width_in=16, width_out=32, layers=3, heads=2))
    parts = (model.config, model.tokenizer, model.llm, dict(model.encoders.items()), {"image": other})
    with pytest.raises(ModelError, match="input projector image looks from 3 blocks, the LLM has 2"):
        AnyGenModel(*parts, dict(model.output_projectors.items()))


def test_a_plan_has_the_blocks_where_the_language_model_runs(folder: Path, tmp_path: Path) -> None:
    both = bridged(tmp_path, media=("image", "audio"))
    for place, media in ((folder, ["image"]), (both, ["image", "audio"])):
        made, model = planning.plan(str(place), hardware.device("rtx-4090")), AnyGenModel.load(place)
        apart = {f"input_projectors.{m}" for m in gated(model.input_projectors)}
        assert {f"input_projectors.{m}" for m in media} >= apart > set()
        assert set(made.stages["text"].parts) == {"llm", *apart} and apart <= set(made.stages["read"].parts)
        assert ("input_projectors" in made.parts) == (len(apart) < len(media))
        counted = sum(part.parameters for name, part in made.parts.items() if name.startswith("input_projectors"))
        assert counted == sum(t.numel() for t in model.input_projectors.state_dict().values())


def test_what_cannot_be_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    model = AnyGenModel.load(folder)
    with pytest.raises(RequestError, match=r"tells no captions \(image\): use pool=0"):
        FeaturesStage("stage1", model, pool=32)
    with pytest.raises(RequestError, match="checkpointing=false"):
        AlignmentStage("stage1", model, {"caption": 1}, TRAINED["stage1"], checkpointing=True)
    with pytest.raises(RequestError, match="media=image,audio,video"):
        Run(recipe_for("nano-night", ["bridged=true"]), tmp_path)
    run = Run(recipe_for("nano-night", ["bridged=true", "media=image"]), tmp_path)
    assert isinstance(run._into("image", model.encoders["image"]), GatedProjector) and not run._cached()
