"""Sound at another rate: a polyphase filter of windowed sincs (Smith, Digital Audio Resampling, 2002)."""

from math import gcd

import numpy as np

ZEROS = 48  # zero crossings of the sinc on either side, counted at the lower of both rates
CUTOFF = 0.94  # of the lower Nyquist frequency; what lies above that is 90 dB down
BETA = 9.0  # of the Kaiser window
ELEMENTS = 1 << 21  # most samples that are laid out at once


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """y(n) = sum over k of x(k) h(n rate / wanted - k): float32 [channels, samples] at `rate` to the `wanted` rate.

    Outside of x is silence; ceil(samples * wanted / rate) samples come out. Where the sound was cut it may swing a
    little beyond -1..1.
    """
    if rate == wanted:
        return samples
    up, down = wanted // gcd(rate, wanted), rate // gcd(rate, wanted)
    length = -(-samples.shape[1] * up // down)
    low = CUTOFF * min(1.0, up / down)  # the cut-off as a share of the source's Nyquist frequency
    half = int(np.ceil(ZEROS / min(1.0, up / down)))
    taps = np.arange(-half + 1, half + 1)
    grid = np.linspace(0, 1, 4096)
    kaiser = np.i0(BETA * np.sqrt(1 - grid**2))
    padded = np.pad(samples, ((0, 0), (half - 1, half + down)))
    found = np.empty((len(samples), length), np.float32)
    # outputs up, 2 up, 3 up ... further on lie whole samples further on in x: they share one filter
    for phase in range(min(up, length)):
        start, past = divmod(phase * down, up)
        away = taps - past / up
        filter_ = np.sinc(low * away) * np.interp(np.abs(away) / half, grid, kaiser)
        filter_ = (filter_ / filter_.sum()).astype(np.float32)
        count = -(-(length - phase) // up)
        step = max(1, ELEMENTS // len(taps))
        for first in range(0, count, step):
            last = min(count, first + step)
            begin = start + first * down
            stretch = padded[:, begin : begin + (last - first - 1) * down + len(taps)]
            windows = np.lib.stride_tricks.sliding_window_view(stretch, len(taps), axis=1)[:, ::down]
            found[:, phase + first * up : phase + (last - 1) * up + 1 : up] = np.ascontiguousarray(windows) @ filter_
    return found
