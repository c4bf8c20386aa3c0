"""What ImageBind's towers read, from media: pictures, film, words, sound, depth, heat and motion as tensors."""

import gzip
import html
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anygen.error import MediaError, ModelError
from anygen.media import Audio, Image, Video
from anygen.optional import optional

SIDE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pixels, in 0..1, that the vision tower was trained on
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
CLIP = 2  # seconds of sound or film that are seen at once
RATE, BINS, FRAMES = 16_000, 128, 204
SOUND_MEAN, SOUND_DEVIATION = -4.268, 9.138  # of log-mels, over AudioSet
LENGTH = 77
STEPS, SECONDS = 2000, 5.0  # of motion


def picture(image: Image, side: int = SIDE) -> Tensor:
    """The middle of a picture, its short side scaled by cubic splines: [3, side, side], normalised."""
    pixels = torch.from_numpy(np.array(_middle(image.pil(), side)))
    return _normalised(pixels.permute(2, 0, 1).float() / 255)


def film(video: Video, clips: int = 5, crops: int = 3, side: int = SIDE) -> Tensor:
    """First and last frame of each of `clips` stretches of 2 s, spread evenly: [clips * crops, 3, 2, side, side].

    `crops` 3 gives each stretch three times: its left (or upper), middle and right (or lower) square; 1 the middle.
    """
    if clips < 1 or crops not in (1, 3):
        raise ModelError(f"a film is seen in at least 1 clip and in 1 or 3 crops, not in {clips} and {crops}")
    seen = []
    count = len(video.frames)
    for start in clip_starts(count / video.fps, clips):
        first = math.ceil(video.fps * start)
        last = min(math.ceil(video.fps * (start + CLIP)), count) - 1
        pair = torch.from_numpy(np.stack([video.frames[first], video.frames[last]]))
        seen.append(_squares(_scaled(pair.permute(3, 0, 1, 2).float() / 255, side), side, crops))
    return torch.cat(seen)


def sound(audio: Audio, clips: int = 3, frontend: str = "own") -> Tensor:
    """Log-mels of `clips` stretches of 2 s, spread evenly, of the first channel: [clips, 1, BINS, FRAMES], normalised.

    What a short sound lacks is filled with zeros before the normalisation, as in training. `frontend` is one of
    FRONTENDS: `resampled` and `kaldi_mel`, or those of the optional package torchaudio that the reference calls.
    """
    resample, filterbank = (resampled, kaldi_mel) if frontend == "own" else reference_frontend()
    wave = resample(torch.from_numpy(np.array(audio.samples)), audio.rate, RATE)
    mels = []
    for start in clip_starts(wave.shape[1] / RATE, clips):
        stretch = wave[:, int(start * RATE) : int((start + CLIP) * RATE)]
        stretch -= stretch.mean()  # in place: where stretches overlap, the next one starts from what this one left
        mel = filterbank(stretch[0]).T
        mels.append(F.pad(mel, (0, max(0, FRAMES - mel.shape[1])))[None, :, :FRAMES])
    return (torch.stack(mels) - SOUND_MEAN) / SOUND_DEVIATION


FRONTENDS = ("own", "torchaudio")


def reference_frontend() -> tuple[Callable[[Tensor, int, int], Tensor], Callable[[Tensor], Tensor]]:
    """torchaudio's resampling and filterbank, told what ImageBind's reference tells them; ModelError without it."""
    functional, kaldi = optional("torchaudio.functional"), optional("torchaudio.compliance.kaldi")

    def resample(wave: Tensor, rate: int, wanted: int) -> Tensor:
        return wave.clone() if rate == wanted else functional.resample(wave, orig_freq=rate, new_freq=wanted)

    def filterbank(wave: Tensor) -> Tensor:
        return kaldi.fbank(
            wave[None],
            htk_compat=True,
            sample_frequency=RATE,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=BINS,
            dither=0.0,
            frame_length=25,
            frame_shift=10,
        )

    return resample, filterbank


def words(texts: Sequence[str], tokenizer: Any, length: int = LENGTH) -> Tensor:
    """Token ids [texts, length]: begin, at most length - 2 tokens, end, zeros. `tokenizer` is CLIP's."""
    rows = torch.zeros(len(texts), length, dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        ids = tokenizer(plain(text), add_special_tokens=False)["input_ids"][: length - 2]
        ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        row[: len(ids)] = torch.tensor(ids)
    return rows


def plain(text: str) -> str:
    """`text` as CLIP was trained on it: small letters, single spaces, straight quotes, no entities and no ligatures.

    What was decoded wrongly before it came here stays wrong; the reference mends that with ftfy.
    """
    straight = _QUOTES.sub("'", _DOUBLE_QUOTES.sub('"', text))
    simple = _JOINED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), straight)
    return " ".join(html.unescape(html.unescape(simple)).split()).lower()


_QUOTES, _DOUBLE_QUOTES = re.compile("[\u02bc\u2018-\u201b]"), re.compile("[\u201c-\u201f]")
_JOINED = re.compile("[\u0132\u0133\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06\uff01-\uff5e]")  # and full width


def depth(disparity: Any, side: int = SIDE) -> Tensor:
    """The middle of a disparity map, float [height, width], its short side scaled: [1, side, side].

    No normalisation is published with the weights; `disparity` should be scaled as in their training.
    """
    return _map(disparity, "depth", side)


def disparity(metres: Any, focal: float, baseline: float, nearest: float = 0.01, farthest: float = 50.0) -> np.ndarray:
    """focal * baseline / depth, in pixels: what a stereo camera would see of depths in metres [height, width].

    `focal` is in pixels, `baseline` in metres (0.075 for a Kinect); 0 and what is not finite, unmeasured, become 0.
    """
    found = np.asarray(metres, dtype=np.float32)
    measured = np.isfinite(found) & (found > 0)
    near = np.clip(np.where(measured, found, 1.0), nearest, farthest)
    return np.where(measured, focal * baseline / near, 0.0).astype(np.float32)


def thermal(heat: Image | Any, side: int = SIDE) -> Tensor:
    """The middle of a thermal picture in 0..1, its short side scaled: [1, side, side].

    `heat` is a grey picture (LLVIP's are 8 bits of grey), or float [height, width] in 0..1.
    """
    if isinstance(heat, Image):
        return torch.from_numpy(np.array(_middle(heat.pil().convert("L"), side)))[None].float() / 255
    return _map(heat, "thermal", side)


def motion(readings: Any, rate: float) -> Tensor:
    """5 s from the middle of what an IMU measured, as 2000 steps: [6, STEPS].

    `readings` are float [6, samples] at `rate` per second: the accelerometer's x, y, z and the gyroscope's. Linear
    between the samples; a shorter measurement has still (zeros) on either side of it.
    """
    found = np.asarray(readings, dtype=np.float32)
    if found.ndim != 2 or found.shape[0] != 6 or not found.shape[1] or not np.isfinite(found).all():
        raise MediaError(f"motion must be finite numbers, [6, samples], got {list(found.shape)}")
    if not rate > 0:
        raise MediaError(f"motion needs its rate in samples per second, above 0, got {rate!r}")
    middle = (found.shape[1] - 1) / 2
    places = middle + (np.arange(STEPS) - (STEPS - 1) / 2) * (SECONDS / STEPS * rate)
    known = np.arange(found.shape[1])
    return torch.from_numpy(
        np.stack([np.interp(places, known, row, left=0.0, right=0.0) for row in found]).astype(np.float32)
    )


# --- the steps of these


def clip_starts(seconds: float, clips: int) -> list[Fraction]:
    """Where stretches of 2 s begin, in seconds: from 0 to the last that fits; all at 0 in a medium that is shorter."""
    step = Fraction(max(seconds - CLIP, 0)) / max(clips - 1, 1)
    return [index * step for index in range(clips)]


def kaldi_mel(wave: Tensor) -> Tensor:
    """Kaldi's log-mel filterbank at 16 kHz: [samples] to [1 + (samples - 400) // 160, BINS]; no dither, no energy.

    Frames of 25 ms every 10 ms, each without its mean, pre-emphasised by 0.97, under a Hann window.
    """
    size, hop = RATE // 40, RATE // 100
    if len(wave) < size:
        return wave.new_zeros(0, BINS)
    frames = wave.unfold(0, size, hop)  # [frames, size]
    frames = frames - frames.mean(1, keepdim=True)
    frames = frames - 0.97 * torch.cat([frames[:, :1], frames[:, :-1]], 1)
    power = torch.fft.rfft(frames * torch.hann_window(size, periodic=False), 512).abs() ** 2
    return (power @ _filters().T).clamp_min(torch.finfo(torch.float32).eps).log()


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    """Triangles on Kaldi's mel scale, 1127 ln(1 + f / 700), from 20 Hz to 8 kHz: [BINS, 257]."""
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (20, RATE / 2))
    step = (high - low) / (BINS + 1)
    mels = 1127 * torch.log(1 + torch.arange(256, dtype=torch.float64) * (RATE / 512) / 700)
    place = (mels - low) / step - torch.arange(BINS, dtype=torch.float64)[:, None]  # 0 left, 1 top, 2 right
    return F.pad((1 - (place - 1).abs()).clamp_min(0), (0, 1)).float()  # nothing is heard at the Nyquist frequency


def resampled(wave: Tensor, rate: int, wanted: int) -> Tensor:
    """Sound [channels, samples] at another rate, by sincs of six zero crossings under a Hann window, cut at 0.99.

    ImageBind was trained on sound that went through this filter; `anygen.codecs.resample` has a sharper one.
    """
    if rate == wanted:
        return wave.clone()
    down, up = rate // math.gcd(rate, wanted), wanted // math.gcd(rate, wanted)
    low, crossings = 0.99 * min(down, up), 6
    half = math.ceil(crossings * down / low)
    taps = torch.arange(-half, half + down, dtype=torch.float64) / down
    t = (taps - torch.arange(up, dtype=torch.float64)[:, None] / up) * low  # [up, taps], in zero crossings
    t = t.clamp(-crossings, crossings)
    filters = torch.sinc(t) * torch.cos(t * (math.pi / 2 / crossings)) ** 2 * (low / down)
    padded = F.pad(wave[:, None], (half, half + down))
    found = F.conv1d(padded, filters[:, None].float(), stride=down)  # [channels, up, steps]
    return found.transpose(1, 2).flatten(1)[:, : math.ceil(up * wave.shape[1] / down)].contiguous()


def _normalised(pixels: Tensor) -> Tensor:
    """[3, ...] in 0..1 to mean 0 and deviation 1, over the pixels of the training set."""
    shape = (3, *[1] * (pixels.ndim - 1))
    return (pixels - torch.tensor(MEAN).view(shape)) / torch.tensor(DEVIATION).view(shape)


def _middle(picture: Any, side: int) -> Any:
    """A PIL picture with its short side scaled to `side`, and the square in its middle."""
    from PIL import Image as Picture

    short = min(picture.size)
    size = tuple(side if n == short else int(side * n / short) for n in picture.size)
    picture = picture.resize(size, Picture.Resampling.BICUBIC)
    left, top = (round((n - side) / 2) for n in picture.size)
    return picture.crop((left, top, left + side, top + side))


def _map(values: Any, what: str, side: int) -> Tensor:
    from PIL import Image as Picture

    found = np.asarray(values, dtype=np.float32)
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise MediaError(f"a {what} map must be finite numbers, [height, width], got {list(found.shape)}")
    return torch.from_numpy(np.array(_middle(Picture.fromarray(found), side)))[None]


def _scaled(frames: Tensor, side: int) -> Tensor:
    """[3, frames, height, width] with its short side `side`, bilinear, normalised."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    size = tuple(side if n == short else math.floor(n / short * side) for n in (height, width))
    return _normalised(F.interpolate(frames, size=size, mode="bilinear", align_corners=False))


def _squares(frames: Tensor, side: int, crops: int) -> Tensor:
    """One or three squares along the long side: [crops, 3, frames, side, side]."""
    height, width = frames.shape[-2:]
    spare = max(height, width) - side
    places = (0, math.ceil(spare / 2), spare) if crops == 3 else (math.ceil(spare / 2),)
    axis = -2 if height > width else -1
    return torch.stack([frames.narrow(axis, place, side) for place in places])


def clip_tokenizer(place: Path) -> Any:
    """CLIP's tokenizer, from a transformers folder or from the published `bpe_simple_vocab_16e6.txt.gz`."""
    from transformers import CLIPTokenizer

    if place.is_dir():
        return CLIPTokenizer.from_pretrained(place, local_files_only=True)
    try:
        lines = gzip.decompress(place.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ModelError(f"{place} is neither a tokenizer's folder nor a gzipped list of merges: {error}") from error
    merges: Any = [tuple(line.split()) for line in lines[1 : 49_152 - 256 - 2 + 1] if line.strip()]
    letters = _letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)


def _letters() -> list[str]:
    """The 256 bytes as letters that can be printed, in CLIP's order: those that can be, then the others."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [*map(chr, shown), *(chr(256 + number) for number in range(len(hidden)))]
