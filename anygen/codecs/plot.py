"""Sound as a picture: its waveform, and below it how loud which pitch is when."""

import numpy as np

from anygen.codecs.resample import resample

RATE, WINDOW = 16000, 1024
QUIET, LOUD = -85.0, -15.0  # dB of full scale that are shown dark and bright
PAPER, INK, AXIS = (250, 250, 248), (64, 92, 158), (205, 205, 200)
COLOURS = np.array([(12, 10, 36), (77, 26, 112), (170, 48, 106), (240, 112, 70), (254, 222, 140), (252, 253, 230)])


def plot(samples: np.ndarray, rate: int, width: int, height: int) -> np.ndarray:
    """float32 [channels, samples] to uint8 [height, width, 3]: a third waveform in -1..1, the rest mel spectrogram."""
    mono = samples.mean(axis=0, dtype=np.float32)
    upper = height // 3
    return np.concatenate([waveform(mono, width, upper), spectrogram(mono, rate, width, height - upper)])


def waveform(mono: np.ndarray, width: int, height: int) -> np.ndarray:
    """[samples] to uint8 [height, width, 3]: in each column a stroke from the least to the greatest sample."""
    begins = np.arange(width) * len(mono) // width
    low, high = np.minimum.reduceat(mono, begins), np.maximum.reduceat(mono, begins)
    top = np.floor((1 - high) / 2 * (height - 1) + 0.25)
    bottom = np.ceil((1 - low) / 2 * (height - 1) - 0.25)
    rows = np.arange(height)[:, None]
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = PAPER
    pixels[height // 2] = AXIS
    pixels[(rows >= top) & (rows <= np.maximum(top, bottom))] = INK
    return pixels


def spectrogram(mono: np.ndarray, rate: int, width: int, height: int) -> np.ndarray:
    """[samples] to uint8 [height, width, 3]: power on the mel scale, 0 Hz below, 8 kHz above, quiet dark."""
    sound = resample(mono[None], rate, RATE)[0]
    padded = np.pad(sound, WINDOW // 2)
    begins = ((np.arange(width) + 0.5) * len(sound) / width).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[np.minimum(begins, len(sound))]
    window = np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames * window) * 2 / window.sum()) ** 2  # [width, WINDOW / 2 + 1], 1 is a full sine
    edges = 700 * (10 ** (np.linspace(0, _mel(RATE / 2), height + 1) / 2595) - 1) * WINDOW / RATE
    # the mean power between two edges, from the running sum, so that no narrow line falls between two rows
    whole = np.pad(np.cumsum(power, axis=1), ((0, 0), (1, 0)))
    sums = np.stack([np.interp(edges + 0.5, np.arange(whole.shape[1]), row) for row in whole])
    decibels = 10 * np.log10(np.diff(sums) / np.diff(edges) + 1e-12)  # [width, height]
    shade = np.clip((decibels.T[::-1] - QUIET) / (LOUD - QUIET), 0, 1) * (len(COLOURS) - 1)
    known = np.arange(len(COLOURS))
    return np.stack([np.interp(shade, known, channel) for channel in COLOURS.T], axis=-1).round().astype(np.uint8)


def _mel(frequency: float) -> float:
    return 2595 * float(np.log10(1 + frequency / 700))
