"""Optional packages: used through adapters with their real call signatures, and missed in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from music import musicgen
from noise import weights
from test_encoders_imagebind import SMALL
from torch import Tensor, nn

from anygen.encoders import imagebind_inputs as inputs
from anygen.encoders.imagebind_encoder import ImageBindEncoder, ImageBindOptions
from anygen.encoders.imagebind_huge import HugeTower, open_published, open_reference, published_shapes
from anygen.error import ModelError
from anygen.generators.audiocraft import AudiocraftGenerator, open_audiocraft
from anygen.generators.musicgen import MusicgenGenerator
from anygen.generators.tokens import TokenOptions
from anygen.media import Audio
from anygen.optional import GAINS, INSTALL, optional
from anygen.testing import tiny_words

DOCS = Path(__file__).parent.parent / "docs" / "optional.md"


def missing(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Importing `name` fails as a wheel for another torch does."""

    class Finder:
        def find_spec(self, wanted: str, path: Any = None, target: Any = None) -> None:
            if wanted.partition(".")[0] == name:
                raise error

    for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])


def given(monkeypatch: pytest.MonkeyPatch, name: str, **held: Any) -> None:
    """A module `name`, with the packages that it is in, holding `held`."""
    for end in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:end])
        if part not in sys.modules:
            monkeypatch.setitem(sys.modules, part, ModuleType(part))
    for key, value in held.items():
        setattr(sys.modules[name], key, value)


@pytest.mark.parametrize(
    "error", [ImportError("no"), OSError("libtorch_cuda.so: cannot open\nshared object"), RuntimeError()]
)
@pytest.mark.parametrize("name", GAINS)
def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    missing(monkeypatch, name, error)
    with pytest.raises(ModelError) as found:
        optional(name)
    said = str(found.value)
    assert said.startswith(f"{name} does not import (") and INSTALL[name] in said and "\n" not in said


def test_our_own_code_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GAINS:
        missing(monkeypatch, name, OSError("built for another torch"))
    sound = Audio(torch.zeros(1, 16_000).numpy(), rate=16_000)
    assert inputs.sound(sound).shape == (3, 1, 128, 204)
    with pytest.raises(ModelError, match="torchaudio does not import"):
        inputs.sound(sound, frontend="torchaudio")
    with pytest.raises(ModelError, match="torchaudio does not import"):
        ImageBindEncoder("audio", HugeTower(SMALL["audio"]), ImageBindOptions(frontend="torchaudio"))
    with pytest.raises(ModelError, match="an encoder hears by own, torchaudio, not by frontend='ears'"):
        ImageBindEncoder("audio", HugeTower(SMALL["audio"]), ImageBindOptions(frontend="ears"))
    with pytest.raises(ModelError, match="imagebind does not import"):
        open_reference(configs=SMALL)
    with pytest.raises(ModelError, match="audiocraft does not import"):
        open_audiocraft("facebook/audiogen-medium")


def test_the_page_says_what_each_adds_and_how_to_install_it() -> None:
    page = DOCS.read_text()
    for name in GAINS:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert GAINS[name] in line and "pip install" in line


def test_torchaudio_is_told_what_the_reference_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []

    def resample(
        waveform: Tensor,
        orig_freq: int,
        new_freq: int,
        lowpass_filter_width: int = 6,
        rolloff: float = 0.99,
        resampling_method: str = "sinc_interp_hann",
        beta: float | None = None,
    ) -> Tensor:
        assert (lowpass_filter_width, rolloff, resampling_method, beta) == (6, 0.99, "sinc_interp_hann", None)
        return inputs.resampled(waveform, orig_freq, new_freq)

    def fbank(
        waveform: Tensor,
        channel: int = -1,
        dither: float = 0.0,
        frame_length: float = 25.0,
        frame_shift: float = 10.0,
        htk_compat: bool = False,
        num_mel_bins: int = 23,
        sample_frequency: float = 16000.0,
        use_energy: bool = False,
        window_type: str = "povey",
    ) -> Tensor:
        told.append({key: value for key, value in locals().items() if key not in ("waveform", "told")})
        assert waveform.ndim == 2 and waveform.shape[0] == 1
        return inputs.kaldi_mel(waveform[0])

    given(monkeypatch, "torchaudio.functional", resample=resample)
    given(monkeypatch, "torchaudio.compliance.kaldi", fbank=fbank)
    wave = 0.3 * torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    sound = Audio(wave.numpy(), rate=22_050)
    encoder = ImageBindEncoder("audio", HugeTower(SMALL["audio"]), ImageBindOptions(frontend="torchaudio"))
    assert torch.equal(encoder.prepare(sound), inputs.sound(sound))
    assert (
        encoder.config != ImageBindEncoder("audio", encoder.tower, ImageBindOptions()).config
    )  # caches tell them apart
    assert len(told) == 3 and all(
        {"htk_compat": True, "num_mel_bins": 128, "window_type": "hanning", "dither": 0.0}.items() <= call.items()
        for call in told
    )


class Reference(nn.Module):
    """Named as Meta's module is, with tensors as it has them."""

    def __init__(self) -> None:
        super().__init__()
        self.held = weights(published_shapes(SMALL))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.held


def test_metas_module_lends_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bool] = []

    def imagebind_huge(pretrained: bool = False) -> nn.Module:
        asked.append(pretrained)
        return Reference()

    given(monkeypatch, "imagebind.models.imagebind_model", imagebind_huge=imagebind_huge)
    tower = open_reference(modalities=["vision"], configs=SMALL)["vision"]
    assert asked == [True]
    torch.save(Reference().held, tmp_path / "imagebind.pth")
    same = open_published(tmp_path / "imagebind.pth", ["vision"], configs=SMALL)["vision"]
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in tower.state_dict().items())
    tuned = Reference()
    own = open_reference(tuned, ["audio"], configs=SMALL)["audio"]
    for tensor in tuned.held.values():
        tensor.zero_()
    assert any(bool(tensor.any()) for tensor in own.state_dict().values())  # copies
    name = next(iter(tuned.held))
    tuned.held[name] = torch.zeros(3)
    with pytest.raises(ModelError, match=r"imagebind's Reference: tensor .* is \[3\], the model needs"):
        open_reference(tuned, configs=SMALL)


class Language(nn.Module):
    """What audiocraft's LMModel is to a generator, around a decoder of transformers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.card, self.cache = model.decoder, model.config.decoder.vocab_size, None
        self.pattern_provider = SimpleNamespace(delays=[0, 1, 2, 3], flatten_first=0, empty_initial=0)
        text = nn.Module()
        text.output_proj = model.enc_to_dec_proj
        text.__dict__ |= {"t5": model.text_encoder, "t5_tokenizer": tiny_words(8)[0], "autocast": nullcontext()}
        self.condition_provider = nn.Module()
        self.condition_provider.conditioners = nn.ModuleDict({"description": text})
        self.streams = False

    @contextmanager
    def streaming(self) -> Iterator[None]:
        self.streams = True
        try:
            yield
        finally:
            self.streams, self.cache = False, None

    def forward(
        self,
        sequence: Tensor,
        conditions: list[Any],
        condition_tensors: dict[str, tuple[Tensor, Tensor]] | None = None,
        stage: int = -1,
    ) -> Tensor:
        """[batch, codebooks, steps] to [batch, codebooks, steps, card]; all rows are attended to, masked or not."""
        assert self.streams and not conditions and condition_tensors is not None and stage == -1
        states, mask = condition_tensors["description"]
        assert mask.shape == states.shape[:2]
        out = self.model(
            sequence.flatten(0, 1), encoder_hidden_states=states, past_key_values=self.cache, use_cache=True
        )
        self.cache = out.past_key_values
        return out.logits.unflatten(0, (-1, sequence.shape[1]))


class AudioGen:
    """What audiocraft's own is to a generator."""

    lm: Any

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.lm, self.max_duration, self.autocast = name, Language(model), 0.5, nullcontext()
        self.sample_rate, self.frame_rate, self.audio_channels = 1600, 100, 1
        codec, whole = model.audio_encoder, nn.Module()
        setattr(whole, "decode", lambda codes, scale=None: codec.decode(codes[None], [scale]).audio_values)  # noqa: B010
        self.compression_model = whole

    @staticmethod
    def get_pretrained(name: str = "facebook/audiogen-medium", device: str | None = None) -> "AudioGen":
        assert device == "cpu"
        return AudioGen(name, musicgen())


def test_audiogen_makes_what_the_same_weights_make_in_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, "audiocraft.models", AudioGen=AudioGen, MusicGen=None)
    generator = open_audiocraft("facebook/audiogen-medium", options=TokenOptions(seconds=0.12))
    assert isinstance(generator, AudiocraftGenerator)
    assert (generator.name, generator.condition_shape, generator.rate) == ("AudioGen", (8, 8), 1600)
    condition = generator.condition(["a cat", "two birds and the sea"])
    same = MusicgenGenerator(musicgen(), tiny_words(8)[0], TokenOptions(seconds=0.12))
    assert torch.equal(same.condition(["a cat", "two birds and the sea"]), condition)
    for row, seed in zip(condition.split(1), (1, 2), strict=True):
        (ours,), (theirs,) = generator.generate(row, [seed], guidance=1.0), same.generate(row, [seed], guidance=1.0)
        assert ours.seconds == 0.12 and torch.allclose(
            torch.from_numpy(ours.samples.copy()), torch.from_numpy(theirs.samples.copy()), atol=1e-5
        )
    steps: list[tuple[int, int]] = []
    both = generator.generate(condition, [1, 2], on_step=lambda step, of, _: steps.append((step, of)))
    assert steps == [(step, 24) for step in range(1, 25)]
    assert both == [generator.generate(condition[i : i + 1], [1 + i])[0] for i in range(2)]
    assert not generator.model.lm.streams and generator.model.lm.cache is None


def test_what_audiocraft_has_more_of_is_refused() -> None:
    model = AudioGen("melody", musicgen())
    model.lm.condition_provider.conditioners["self_wav"] = nn.Identity()
    with pytest.raises(ModelError, match="melody is told self_wav, text; a generator is told text alone"):
        AudiocraftGenerator(model)
    model = AudioGen("odd", musicgen())
    model.lm.pattern_provider.flatten_first = 1
    with pytest.raises(ModelError, match="odd orders its tokens by SimpleNamespace; a delay alone is known"):
        AudiocraftGenerator(model)
    generator = AudiocraftGenerator(AudioGen("one", musicgen()))
    with pytest.raises(ModelError, match="AudioGen is audiocraft's: its files stay as audiocraft has them"):
        generator.save_pretrained("there")
