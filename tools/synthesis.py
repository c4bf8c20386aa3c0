"""The few tools of which `synthesised_sounds.py` makes sounds: all work on float64 [samples] at RATE."""

from collections.abc import Sequence

import numpy as np

from anygen.playground.sound import RATE

Points = Sequence[tuple[float, float]]
Wave = np.ndarray


def line(n: int, points: Points | float) -> Wave:
    """A curve through (share of the length, value) points."""
    if isinstance(points, int | float):
        return np.full(n, float(points))
    where, values = zip(*points, strict=True)
    return np.interp(np.linspace(0, 1, n), where, values)


def samples(seconds: float) -> int:
    return int(seconds * RATE)


def tone(frequency: Wave, phase: float = 0.0) -> Wave:
    return np.sin(phase + 2 * np.pi * np.cumsum(frequency) / RATE)


def decay(n: int, seconds: float) -> Wave:
    """Falls by 60 dB in so many seconds."""
    return 10 ** (-3 * np.arange(n) / (seconds * RATE))


def noise(n: int, rng: np.random.Generator, low: float = 0, high: float = 8000, slope: float = 0.0) -> Wave:
    """Noise between two frequencies with soft edges, falling by `slope` dB an octave; of unit power."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 1)
    shape = 1 / (1 + (low / f) ** 8) / (1 + (f / high) ** 8) * (f / 1000) ** (-slope / 6.02)
    x = np.fft.irfft(spectrum * shape, n)
    return x / (x.std() + 1e-9)


def resonate(x: Wave, frequency: Wave, q: float) -> Wave:
    """A band-pass whose centre follows a curve (state variable filter)."""
    y = np.zeros_like(x)
    low = band = 0.0
    f = 2 * np.sin(np.pi * np.minimum(frequency, 2600) / RATE)
    for i in range(len(x)):
        low += f[i] * band
        band += f[i] * (x[i] - low - band / q)
        y[i] = band
    return y


def wobble(n: int, rng: np.random.Generator, speed: float) -> Wave:
    """A slow random curve of unit power, changing about `speed` times a second."""
    points = rng.standard_normal(max(4, int(n / RATE * speed) + 3))
    x = np.interp(np.linspace(0, len(points) - 1, n), np.arange(len(points)), points)
    return x / (x.std() + 1e-9)


def voice(
    f0: Wave,
    formants: Sequence[tuple[Points | float, float, float]],
    rng: np.random.Generator,
    tilt: float = 6.0,
    breath: float = 0.0,
    shake: float = 0.01,
) -> Wave:
    """A throat: harmonics of f0 that fall by `tilt` dB an octave, through formants of (frequency, width, gain)."""
    n = len(f0)
    f0 = f0 * (1 + shake * wobble(n, rng, 60))
    curves = [(line(n, points), width, gain) for points, width, gain in formants]
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    x = np.zeros(n)
    for k in range(1, int(7600 / f0.min()) + 1):
        f = k * f0
        throat = sum(gain / (1 + ((f - centre) / width) ** 2) for centre, width, gain in curves)
        x += np.where(f < 7600, throat * k ** (-tilt / 6.02), 0) * np.sin(k * phase + 0.3 * k * k)
    x /= x.std() + 1e-9
    if breath:
        air = sum((gain * resonate(noise(n, rng), centre, 4) for centre, _, gain in curves), start=np.zeros(n))
        x += breath * air / (air.std() + 1e-9)
    return x


def shaped(x: Wave, envelope: Points) -> Wave:
    return x * line(len(x), envelope)


def join(*pieces: Wave) -> Wave:
    return np.concatenate(pieces)


def at(total: float, *pieces: tuple[float, Wave]) -> Wave:
    """Pieces laid over each other from moments in seconds."""
    x = np.zeros(samples(total))
    for seconds, piece in pieces:
        start = samples(seconds)
        part = piece[: len(x) - start]
        x[start : start + len(part)] += part
    return x


def silence(seconds: float) -> Wave:
    return np.zeros(samples(seconds))


def struck(seconds: float, partials: Sequence[tuple[float, float, float]]) -> Wave:
    """Something that is hit and rings: partials of (frequency, gain, seconds to -60 dB)."""
    n = samples(seconds)
    return sum(gain * decay(n, ring) * tone(line(n, f)) for f, gain, ring in partials)


def square(frequency: Wave, duty: float = 0.5) -> Wave:
    """A pulse wave without partials above 7 kHz."""
    n, top = len(frequency), int(7000 / frequency.max())
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    return sum((np.sin(np.pi * k * duty) / k * np.cos(k * phase) for k in range(1, top + 1)), np.zeros(n))
