"""MusicGen of transformers as a generator: its condition, guidance, delays and seeds, saved, opened, planned."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from music import BOOKS, FPS, RATE, VOCABULARY, musicgen
from transformers.modeling_outputs import BaseModelOutput

import anygen
from anygen import cli, meter, planning
from anygen.error import ModelError, RequestError
from anygen.generators import open_generator
from anygen.generators.musicgen import MusicgenGenerator
from anygen.generators.tokens import TokenOptions, drawn
from anygen.hardware import Device
from anygen.media import Audio
from anygen.model import AnyGenModel
from anygen.projectors.output import QueryConfig, QueryTransformer
from anygen.quantization import layers
from anygen.testing import SIGNALS, tiny_model, tiny_words
from anygen.training.alignment import AlignmentStage
from anygen.training.states import StatesStage

GREEDY = TokenOptions(top_k=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers alone writes it."""
    to = tmp_path_factory.mktemp("music")
    musicgen().save_pretrained(to)
    tiny_words(8)[0].save_pretrained(to)
    return to


@pytest.fixture(scope="module")
def generator(folder: Path) -> MusicgenGenerator:
    opened = open_generator("audio", folder)
    assert isinstance(opened, MusicgenGenerator)
    return opened


def told(batch: int = 2, seed: int = 0) -> torch.Tensor:
    condition = torch.randn(batch, 8, 8, generator=torch.Generator().manual_seed(seed))
    condition[:, 5:] = 0
    return condition


def wave(sound: Audio) -> torch.Tensor:
    return torch.from_numpy(sound.samples.copy())


def test_a_condition_becomes_a_sound(folder: Path, generator: MusicgenGenerator, tmp_path: Path) -> None:
    assert generator.condition_shape == (8, 8) and generator.rate == RATE and generator.tokens.fps == FPS
    condition, steps, state = told(), [], torch.get_rng_state()
    first, second = generator.generate(
        condition, [1, 2], steps=20, guidance=3.0, on_step=lambda step, of, _: steps.append((step, of))
    )
    assert torch.equal(state, torch.get_rng_state())
    assert steps == [(step, 20) for step in range(1, 21)]
    assert (first.rate, first.channels, first.seconds) == (RATE, 1, 20 / FPS) and first != second
    # the same again, alone in its batch; other seeds, conditions and guidance count
    assert torch.allclose(
        wave(generator.generate(condition[:1], [1], steps=20, guidance=3.0)[0]), wave(first), atol=1e-4
    )
    others = [
        generator.generate(condition[:1], [2], steps=20, guidance=3.0)[0],
        generator.generate(told(1, 5), [1], steps=20, guidance=3.0)[0],
        generator.generate(condition[:1], [1], steps=20, guidance=1.0)[0],
    ]
    assert all(other != first for other in others)
    generator.save_pretrained(tmp_path)
    again = open_generator("audio", tmp_path)
    assert again.generate(condition, [1, 2], steps=20, guidance=3.0) == [first, second]
    assert str(folder) not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["sampling_rate"] == RATE


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_likeliest_tokens_are_those_of_transformers_own_loop(channels: int, guidance: float) -> None:
    model = musicgen(channels)
    generator, condition = MusicgenGenerator(model, tiny_words(8)[0], GREEDY), told()
    made = generator.generate(condition, [0, 0], steps=12, guidance=guidance)
    mask = torch.tensor([[1] * 5 + [0] * 3] * 2)
    # given as encoder_outputs, it would stand on both sides of guidance
    model.text_encoder.forward = lambda **given: BaseModelOutput(last_hidden_state=condition)
    expected = model.generate(
        input_ids=mask, attention_mask=mask, max_new_tokens=12 + BOOKS - 1, do_sample=False, guidance_scale=guidance
    )
    assert made[0].channels == channels and expected.shape == (2, channels, 12 * RATE // FPS)
    for ours, theirs in zip(made, expected, strict=True):
        torch.testing.assert_close(wave(ours), theirs.clamp(-1, 1))


def test_what_the_text_encoder_says_is_what_the_model_plays(generator: MusicgenGenerator) -> None:
    """A condition of texts gives the sounds that the model makes of the texts themselves; padding is not heard."""
    texts = ["a cat", "two birds and the sea"]
    coded = generator.pipeline.tokenizer(texts, padding=True, return_tensors="pt")
    condition = generator.condition(texts)
    assert condition.shape == (2, 8, 8) and bool((condition[0, 2:] == 0).all())
    full = generator.pipeline.tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt")
    assert torch.equal(generator.tell(full.input_ids, full.attention_mask), condition)
    expected = generator.model.generate(
        input_ids=coded.input_ids,
        attention_mask=coded.attention_mask,
        max_new_tokens=10 + BOOKS - 1,
        do_sample=False,
        guidance_scale=2.0,
    )
    greedy = MusicgenGenerator(generator.model, generator.pipeline.tokenizer, GREEDY)
    for ours, theirs in zip(greedy.generate(condition, [0, 0], steps=10, guidance=2.0), expected, strict=True):
        torch.testing.assert_close(wave(ours), theirs.clamp(-1, 1))


def test_tokens_are_drawn_from_the_softmax_of_the_likeliest() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5]).expand(1, 4000, 5)
    found = drawn(logits, [torch.Generator().manual_seed(0)], top_k=3, temperature=0.7)
    share = torch.bincount(found[0], minlength=5) / 4000
    expected = torch.tensor([-torch.inf, 1.0, 2.0, -torch.inf, 0.5]).div(0.7).softmax(0)
    assert torch.allclose(share, expected, atol=0.03) and bool((share[expected == 0] == 0).all())
    both = drawn(torch.cat([logits, logits]), [torch.Generator().manual_seed(seed) for seed in (0, 1)], 3, 0.7)
    assert torch.equal(both[:1], found) and not torch.equal(both[1], both[0])


def test_every_codebook_waits_its_turn(generator: MusicgenGenerator) -> None:
    """Step by step: what is fed is silence until a codebook begins and after it is over."""
    fed: list[torch.Tensor] = []

    def step(tokens: torch.Tensor) -> torch.Tensor:
        fed.append(tokens[0, :, 0].clone())
        place = len(fed) - 1
        logits = torch.zeros(1, BOOKS, VOCABULARY)
        for book in range(BOOKS):
            logits[0, book, (place - book) % VOCABULARY] = 10  # frame number as its token
        return logits

    greedy = MusicgenGenerator(generator.model, None, GREEDY)
    codes = greedy._draw(step, [torch.Generator()], 5, 1.0, None)
    assert codes.tolist() == [[[0, 1, 2, 3, 4]] * BOOKS]
    s = VOCABULARY
    assert torch.stack(fed, 1).tolist() == [
        [s, 0, 1, 2, 3, 4, s, s],
        [s, s, 0, 1, 2, 3, 4, s],
        [s, s, s, 0, 1, 2, 3, 4],
        [s, s, s, s, 0, 1, 2, 3],
    ]


def test_seconds_say_how_long_and_previews_are_its_beginning(folder: Path) -> None:
    generator = open_generator("audio", folder, options={"seconds": 0.16})
    heard: list[Any] = []
    (made,) = generator.generate(told(1), [0], steps=3, on_step=lambda step, of, preview: heard.append((of, preview())))
    assert made.seconds == 0.16 and len(heard) == 16 and {of for of, _ in heard} == {16}
    assert [sound.samples.shape[1] for _, (sound,) in heard] == [16 * frames for frames in range(1, 17)]
    assert heard[-1][1] == [made]


def test_what_does_not_fit_is_named(folder: Path, generator: MusicgenGenerator, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"Musicgen takes conditions of \[8, 8\], not \[8, 7\]"):
        generator.generate(torch.zeros(1, 8, 7), [0])
    with pytest.raises(RequestError, match="2 conditions need as many seeds, got 1"):
        generator.generate(told(), [0])
    with pytest.raises(
        RequestError, match="70 steps are 70 frames of sound, and this Musicgen makes at most 61 frames"
    ):
        generator.generate(told(1), [0], steps=70)
    with pytest.raises(RequestError, match="seconds=9 are 900 frames of sound"):
        open_generator("audio", folder, options={"seconds": 9.0})
    with pytest.raises(ModelError, match="Musicgen draws tokens and has no diffusion loss: train on the condition's"):
        generator.diffusion_loss(told(1), torch.zeros(1, 8), torch.Generator())
    with pytest.raises(ModelError, match="makes audio, it is no generator for 'image'"):
        open_generator("image", folder)
    with pytest.raises(ModelError, match="borrows nothing; take its base from anygen.json"):
        open_generator("audio", folder, base=folder)
    with pytest.raises(ModelError, match="unknown key 'height'; known keys are seconds, top_k, temperature"):
        open_generator("audio", folder, options={"height": 8})
    with pytest.raises(ModelError, match="a generator's top_k must be above 0, got 0"):
        open_generator("audio", folder, options={"top_k": 0})
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["MusicgenMelodyForConditionalGeneration"]}))
    with pytest.raises(
        ModelError, match="is a MusicgenMelodyForConditionalGeneration: of transformers' models Musicgen"
    ):
        open_generator("audio", tmp_path)
    (tmp_path / "config.json").unlink()
    for name in ("state_dict.bin", "compression_state_dict.bin"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match="holds audiocraft's pickles, which are not opened here"):
        open_generator("audio", tmp_path)


def test_a_folder_opens_strictly(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    name = "enc_to_dec_proj.weight"
    for changed, message in (
        ({**tensors, name: torch.zeros(12, 7)}, rf"tensor {name} is \[12, 7\], the model needs \[12, 8\]"),
        ({key: value for key, value in tensors.items() if key != name}, rf"tensor {name} \[12, 8\] is missing"),
        ({**tensors, "more": torch.zeros(1)}, "tensor more has no place in the model"),
    ):
        save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=message):
            open_generator("audio", tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-40])
    with pytest.raises(ModelError, match="truncated"):
        open_generator("audio", tmp_path)


def test_without_a_tokenizer_it_makes_sounds_and_reads_nothing(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    mute = open_generator("audio", tmp_path)
    assert mute.condition_shape == (128, 8)
    (made,) = mute.generate(torch.nn.functional.pad(told(1), (0, 0, 0, 120)), [0], steps=4)
    assert made.seconds == 0.04
    with pytest.raises(ModelError, match="this Musicgen came without its tokenizer: it reads no text"):
        mute.condition(["a cat"])


@pytest.fixture(scope="module")
def model_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose sounds are MusicGen's."""
    to = tiny_model(tmp_path_factory.mktemp("model") / "tiny", media=("image", "audio"))
    model = AnyGenModel.load(to)
    sizes: dict[str, Any] = {"width_in": 32, "width": 16, "heads": 2, "feedforward": 32}
    sizes |= {"encoder_layers": 1, "decoder_layers": 1, "count": SIGNALS["audio"], "length": 8, "width_out": 8}
    generator = open_generator("audio", folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outof = QueryTransformer(QueryConfig(**sizes))
    outof.measure(generator.condition(["a cat", "two birds", "the sea", "a red car and the cat"]))
    model.output_projectors["audio"] = outof
    model.generators["audio"] = generator
    model.save(to)
    values = json.loads((to / "anygen.json").read_text())
    values["generators"]["audio"] |= {"steps": 12, "guidance": 3.0, "options": {"seconds": 0.1}}
    (to / "anygen.json").write_text(json.dumps(values))
    return to


def test_a_model_answers_with_it(model_folder: Path) -> None:
    engine = anygen.load(model_folder)
    reply = engine.generate("a cat", to="audio", seed=3)
    (sound,) = reply.audios
    assert (sound.rate, sound.seconds) == (RATE, 0.1)
    assert engine.generate("a cat", to="audio", seed=3).audios == reply.audios
    assert engine.generate("a cat", to="audio", seed=4).audios != reply.audios


def test_stage_two_learns_its_condition_and_is_refused_its_loss(model_folder: Path) -> None:
    model = AnyGenModel.load(model_folder)
    sounds = {"sound": 1}
    stage = StatesStage("stage2", model, sounds, pool=8, length=512)
    losses = stage(stage.prepare(0, 4, 0), torch.Generator())
    losses["condition_audio"].backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.output_projectors["audio"].outward.parameters())
    rest = AlignmentStage("stage2", AnyGenModel.load(model_folder), sounds, {"output"}, length=512)
    found = rest(rest.prepare(0, 2, 0), torch.Generator())
    assert float(found["condition_audio"].detach()) > 0
    rest = AlignmentStage("stage2", AnyGenModel.load(model_folder), sounds, {"output"}, length=512, diffusion=0.5)
    with pytest.raises(ModelError, match="Musicgen draws tokens and has no diffusion loss"):
        rest(rest.prepare(0, 2, 0), torch.Generator())


def test_its_plan_is_what_it_takes(model_folder: Path) -> None:
    cpu = Device(name="cpu", type="cpu", bytes=8 * 10**9, flops=1e11, bandwidth=1e10, kernel=1e-5)
    made = planning.plan(str(model_folder), cpu)
    generator = AnyGenModel.load(model_folder).generator("audio")
    for name, network in generator.networks().items():
        part = made.parts[f"generators.audio.{name}"]
        held = {id(t): t for t in (*network.parameters(), *network.buffers())}
        assert part.parameters <= sum(t.numel() for t in held.values()) and part.dtype == "float32"
        assert part.parameters >= sum(p.numel() for p in network.parameters())
    stage, frames = made.stages["audio"], 10  # 0.1 s
    assert sorted(times for times, _, _ in stage.works) == [1, frames]
    states, mask = torch.ones(2, 8, 12), torch.ones(2, 8)
    cache = None
    with torch.no_grad():
        for _ in range(frames - 1):
            tokens = torch.zeros(2 * BOOKS, 1, dtype=torch.long)
            cache = generator.model.decoder(
                tokens, encoder_hidden_states=states, encoder_attention_mask=mask, past_key_values=cache, use_cache=True
            ).past_key_values
    real = meter.measure(
        lambda: generator.model.decoder(tokens, encoder_hidden_states=states, past_key_values=cache, use_cache=True)
    )
    planned = next(cost for times, cost, _ in stage.works if times == frames)
    assert planned.flops >= 0.95 * real.flops > 0 and planned.flops <= 1.3 * real.flops
    decoded = meter.measure(lambda: generator.decode(torch.zeros(1, BOOKS, frames, dtype=torch.long)))
    planned = next(cost for times, cost, _ in stage.works if times == 1)
    lstm = 2 * 4 * 8 * (8 + 8) * frames  # which a CPU's own kernel does, and nobody counts
    assert planned.flops == decoded.flops + lstm
    assert "generators.audio.decoder" not in made.unmeasured


def test_its_heads_are_not_quantised(generator: MusicgenGenerator) -> None:
    chosen = layers("decoder", generator.model.decoder)
    assert chosen and not any("lm_heads" in name for name in chosen)


def test_published_spellings_become_one_strict_folder(
    folder: Path, generator: MusicgenGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older files are pickles, call the parts of normed weights g and v, and hold the places as well."""
    from safetensors.torch import load_file

    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for file in folder.glob("*.json"):
        (old / file.name).write_bytes(file.read_bytes())
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for now, then in names.items():
            name = name.replace(now, then)
        tensors[name] = tensor
    torch.save(
        tensors | {"decoder.model.decoder.embed_positions.weights": torch.zeros(64, 12)}, old / "pytorch_model.bin"
    )
    assert cli.main(["convert", "transformers", str(old), "-o", str(new)]) == 0
    assert capsys.readouterr().out.strip() == str(new) and not list(new.glob("*.bin"))
    (made,) = open_generator("audio", new).generate(told(1), [5], steps=6)
    assert made == generator.generate(told(1), [5], steps=6)[0]
    torch.save(tensors | {"decoder.lm_heads.0.weight": torch.zeros(16, 11)}, old / "pytorch_model.bin")
    assert cli.main(["convert", "transformers", str(old), "-o", str(tmp_path / "other")]) == 2
    err = capsys.readouterr().err
    assert "lm_heads.0.weight is [16, 11], the model needs [16, 12]" in err and err.count("\n") == 1
