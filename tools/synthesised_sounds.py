"""Sounds that no sound font has, made of `synthesis.py`: animals, engines, weather, tools.

`v` is the recording, 0 or 1, and s a factor on its frequencies.
"""

from collections.abc import Callable

import numpy as np
from synthesis import (
    Wave,
    at,
    decay,
    join,
    line,
    noise,
    resonate,
    samples,
    shaped,
    silence,
    square,
    struck,
    tone,
    voice,
    wobble,
)

from anygen.playground.sound import RATE, SOUNDS

SCALE = (0, 2, 4, 5, 7)  # semitones


def _dog(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.87)[v], samples((0.22, 0.26)[v])
    f0 = line(n, [(0, 260 * s), (0.25, 480 * s), (1, 220 * s)])
    x = voice(f0, [(750 * s, 220, 1), (1500 * s, 300, 0.7)], rng, 4, 0.2, 0.02)
    return shaped(x, [(0, 0), (0.08, 1), (0.4, 0.8), (1, 0)])


def _cat(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.25)[v], samples((0.7, 0.6)[v])
    f0 = line(n, [(0, 480 * s), (0.3, 700 * s), (0.6, 640 * s), (1, 420 * s)])
    first = [(0, 500), (0.35, 1500), (0.7, 1100), (1, 500)]
    second = [(0, 2500), (0.35, 2800), (1, 1000)]
    return shaped(voice(f0, [(first, 250, 1), (second, 350, 0.8)], rng, 5), [(0, 0), (0.15, 0.7), (0.4, 1), (1, 0)])


def _horse(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.85)[v], samples(0.74)
    t = np.arange(n) / RATE
    f0 = line(n, [(0, 900 * s), (0.2, 1300 * s), (1, 420 * s)]) * (1 + 0.12 * np.sin(2 * np.pi * 13 * t))
    x = voice(f0, [(1300, 500, 1), (3000, 700, 0.8)], rng, 3, 0.3, 0.03)
    return shaped(x, [(0, 0), (0.1, 1), (0.6, 0.9), (1, 0)]) * (0.65 + 0.35 * np.sin(2 * np.pi * 13 * t))


def _cow(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.82)[v], samples(0.75)
    f0 = line(n, [(0, 120 * s), (0.3, 165 * s), (0.8, 150 * s), (1, 110 * s)])
    opened = [(0, 260), (0.25, 420), (0.7, 650), (1, 400)]
    x = voice(f0, [(opened, 90, 1), (1000, 150, 0.4)], rng, 5, 0.05, 0.01)
    return shaped(x, [(0, 0), (0.15, 0.8), (0.6, 1), (1, 0)])


def _pig(v: int, rng: np.random.Generator) -> Wave:
    def grunt(seconds: float, high: float) -> Wave:
        n = samples(seconds)
        f0 = line(n, [(0, high), (0.5, high * 0.8), (1, high * 0.6)])
        x = voice(f0, [(450, 200, 1), (1100, 200, 1), (2300, 400, 0.6)], rng, 2, 1.0, 0.15)
        return shaped(x, [(0, 0), (0.2, 1), (0.7, 0.8), (1, 0)])

    s = (1.0, 1.25)[v]
    return at(0.48, (0, 0.8 * grunt(0.16, 150 * s)), (0.2, grunt(0.26, 130 * s)))


def _sheep(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.3)[v], samples(0.72)
    t = np.arange(n) / RATE
    f0 = line(n, [(0, 330 * s), (0.2, 300 * s), (1, 250 * s)]) * (1 + 0.03 * np.sin(2 * np.pi * 9 * t))
    x = voice(f0, [(800, 200, 1), (1700, 250, 1), (2700, 300, 0.4)], rng, 1)
    return shaped(x, [(0, 0), (0.06, 1), (0.7, 0.8), (1, 0)]) * (0.55 + 0.45 * np.sin(2 * np.pi * 9 * t))


def _elephant(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.85)[v], samples(0.75)
    f0 = line(n, [(0, 320 * s), (0.2, 560 * s), (0.7, 600 * s), (1, 380 * s)])
    x = voice(f0, [(1100, 600, 1), (2400, 500, 0.9), (4000, 800, 0.5)], rng, 0, 0.3, 0.06)
    return shaped(x, [(0, 0), (0.1, 0.8), (0.3, 1), (0.8, 0.9), (1, 0)])


def _monkey(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 1.2)[v]

    def call(seconds: float, low: float, high: float, first: float) -> Wave:
        n = samples(seconds)
        x = voice(line(n, [(0, low), (0.5, high), (1, low)]), [(first, 200, 1), (2 * first, 300, 0.3)], rng, 8)
        return shaped(x, [(0, 0), (0.2, 1), (0.7, 1), (1, 0)])

    low, high = call(0.11, 300 * s, 420 * s, 420 * s), call(0.14, 560 * s, 900 * s, 1100 * s)
    return at(0.7, (0, low), (0.15, low), (0.32, high), (0.5, high))


def _chicken(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 1.15)[v]

    def cluck(seconds: float, high: float) -> Wave:
        n = samples(seconds)
        f0 = line(n, [(0, 0.8 * high), (0.3, high), (1, 0.7 * high)])
        x = voice(f0, [(1100 * s, 300, 1), (2500 * s, 400, 0.7)], rng, 2, 0.4, 0.05)
        return shaped(x, [(0, 0), (0.15, 1), (1, 0)])

    short, long = cluck(0.06, 420 * s), cluck(0.26, 780 * s)
    return at(0.74, (0, 0.6 * short), (0.12, 0.6 * short), (0.24, 0.7 * short), (0.38, long))


def _duck(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.9)[v], samples((0.3, 0.34)[v])
    f0 = line(n, [(0, 190 * s), (0.3, 215 * s), (1, 160 * s)])
    x = voice(f0, [(1150, 120, 0.5), (2300 * s, 250, 1.4), (3600, 300, 1)], rng, 0, 0.15, 0.03)
    return shaped(x, [(0, 0), (0.1, 1), (0.6, 0.8), (1, 0)])


def _owl(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 0.85)[v]

    def hoo(seconds: float, f: float) -> Wave:
        n = samples(seconds)
        x = tone(line(n, [(0, 0.93 * f), (0.3, f), (1, 0.95 * f)])) + 0.08 * noise(n, rng, 250, 600)
        return shaped(x, [(0, 0), (0.25, 1), (0.7, 0.9), (1, 0)])

    return at(0.75, (0, 0.7 * hoo(0.17, 370 * s)), (0.26, hoo(0.46, 385 * s)))


def _parrot(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.2)[v], samples(0.42)
    f0 = line(n, [(0, 900 * s), (0.25, 1500 * s), (0.6, 1250 * s), (1, 700 * s)])
    t = np.arange(n) / RATE
    x = voice(f0, [(2200, 700, 1), (3600, 700, 1), (5200, 800, 0.5)], rng, 0, 0.6, 0.1)
    return shaped(x * (0.6 + 0.4 * np.sign(np.sin(2 * np.pi * 45 * t))), [(0, 0), (0.1, 1), (0.7, 0.8), (1, 0)])


def _frog(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 1.25)[v]

    def croak(seconds: float, pulses: float, f: float) -> Wave:
        x = silence(seconds)
        for start in np.arange(0, seconds - 0.02, 1 / pulses):
            grain = struck(0.03, [(f, 1, 0.05), (2.4 * f, 0.5, 0.03)])
            i = samples(start)
            x[i : i + len(grain)] += grain[: len(x) - i]
        return shaped(x, [(0, 0.3), (0.3, 1), (0.8, 1), (1, 0)])

    return at(0.62, (0, croak(0.24, 38 * s, 560 * s)), (0.32, croak(0.28, 46 * s, 760 * s)))


def _snake(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.74)
    x = noise(n, rng, (3800, 4600)[v], 7800)
    return shaped(x, [(0, 0), (0.12, 0.6), (0.4, 1), (0.75, 0.7), (1, 0)])


def _dinosaur(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.85)[v], samples(0.75)
    f0 = line(n, [(0, 90 * s), (0.25, 190 * s), (1, 70 * s)])
    mouth = [(0, 350), (0.3, 1100), (1, 380)]
    x = voice(f0, [(mouth, 250, 1), (2100, 400, 0.7), (3400, 600, 0.4)], rng, 2, 0.35, 0.06)
    return shaped(x, [(0, 0), (0.15, 1), (0.6, 0.9), (1, 0)])


def _whale(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.75)
    f0 = line(n, ([(0, 170), (0.5, 330), (1, 620)], [(0, 560), (0.5, 260), (1, 190)])[v])
    x = tone(f0) + 0.35 * tone(2 * f0) + 0.2 * tone(3 * f0)
    return shaped(x, [(0, 0), (0.2, 0.9), (0.6, 1), (1, 0)])


def _dolphin(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.4)
    f0 = line(n, ([(0, 3300), (0.4, 5600), (0.7, 6200), (1, 4200)], [(0, 3000), (0.5, 6500), (1, 5200)])[v])
    whistle = shaped(tone(f0), [(0, 0), (0.2, 1), (0.8, 1), (1, 0)])
    gaps = np.cumsum(np.linspace(0.045, 0.012, 14))
    clicks = [(float(at), shaped(noise(samples(0.006), rng, 2500, 7500), [(0, 1), (1, 0)])) for at in gaps]
    return at(0.74, *clicks, (0.34, 0.9 * whistle))


def _fish(v: int, rng: np.random.Generator) -> Wave:
    def bubble(f: float) -> Wave:
        n = samples(0.09)
        return tone(line(n, [(0, f), (1, 2.4 * f)])) * decay(n, 0.12) * line(n, [(0, 0), (0.1, 1), (1, 1)])

    s = (1.0, 1.3)[v]
    return at(0.6, (0, bubble(380 * s)), (0.14, bubble(520 * s)), (0.24, bubble(330 * s)), (0.42, bubble(600 * s)))


def _bee(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.18)[v], samples(0.75)
    f0 = 215 * s * (1 + 0.05 * wobble(n, rng, 7))
    x = voice(f0, [(450, 300, 1), (2600, 1200, 0.5)], rng, 2, 0.0, 0.02)
    return shaped(x, [(0, 0), (0.2, 0.9), (0.5, 1), (1, 0)])


def _lion(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.85)[v], samples(0.75)
    t = np.arange(n) / RATE
    f0 = line(n, [(0, 130 * s), (0.5, 165 * s), (1, 120 * s)])
    x = voice(f0, [(380, 120, 1), (700, 160, 0.5)], rng, 3, 0.5, 0.1)
    growl = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * 24 * t))
    return shaped(x * growl, [(0, 0), (0.2, 1), (0.7, 0.9), (1, 0)])


def _mouse(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 0.88)[v]

    def squeak() -> Wave:
        n = samples(0.1)
        f0 = line(n, [(0, 3600 * s), (0.4, 4700 * s), (1, 3900 * s)])
        return shaped(tone(f0) + 0.1 * noise(n, rng, 3000), [(0, 0), (0.3, 1), (1, 0)])

    return at(0.36, (0, squeak()), (0.18, squeak()))


def _tree(v: int, rng: np.random.Generator) -> Wave:
    """Leaves in gusts."""
    n = samples(0.75)
    x = noise(n, rng, (1300, 1000)[v], (3600, 3000)[v]) * (1 + 0.7 * wobble(n, rng, 28)).clip(0.05)
    return shaped(x, [(0, 0), (0.2, 0.5), (0.45, 1), (0.6, 0.4), (0.8, 0.9), (1, 0)])


def _car(v: int, rng: np.random.Generator) -> Wave:
    """The starter, then the engine."""
    s, n, m = (1.0, 1.15)[v], samples(0.36), samples(0.39)
    turn = 1 + 0.2 * np.sin(2 * np.pi * 11 * np.arange(n) / RATE)
    starter = voice(270 * s * turn, [(900, 400, 1), (2300, 600, 0.7)], rng, 1, 0.2, 0.03) * turn**3
    f0 = line(m, [(0, 60 * s), (0.4, 150 * s), (1, 95 * s)])
    engine = voice(f0, [(180, 90, 1), (500, 200, 0.6), (1300, 500, 0.3)], rng, 2, 0.1, 0.03)
    return join(
        shaped(0.5 * starter, [(0, 0), (0.1, 1), (0.9, 1), (1, 0)]),
        shaped(engine, [(0, 0), (0.1, 1), (0.6, 0.9), (1, 0)]),
    )


def _taxi(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 1.12)[v]

    def honk(seconds: float) -> Wave:
        n = samples(seconds)
        x = square(line(n, 415 * s), 0.3) + square(line(n, 523 * s), 0.3)
        return shaped(x, [(0, 0), (0.05, 1), (0.9, 1), (1, 0)])

    return at(0.6, (0, honk(0.2)), (0.3, honk(0.28)))


def _fire_engine(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.88)[v], samples(0.75)
    f0 = line(n, [(0, 600 * s), (0.5, 1400 * s), (1, 600 * s)])
    x = tone(f0) + 0.5 * tone(2 * f0) + 0.35 * tone(3 * f0)
    return shaped(x, [(0, 0), (0.06, 1), (0.92, 1), (1, 0)])


def _ambulance(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.08)[v], samples(0.74)
    step = np.where(np.arange(n) % samples(0.37) < samples(0.185), 960.0 * s, 720.0 * s)
    x = square(step, 0.4)
    return shaped(x, [(0, 0), (0.03, 1), (0.96, 1), (1, 0)])


def _tractor(v: int, rng: np.random.Generator) -> Wave:
    beat = (0.115, 0.095)[v]
    puff = shaped(noise(samples(0.08), rng, 60, 700, 3), [(0, 0), (0.1, 1), (1, 0)])
    thump = struck(0.09, [(78, 1.6, 0.12), (160, 0.6, 0.08)])
    moments = np.arange(0, 0.74 - beat, beat)
    return at(0.74, *((float(m), 0.7 * puff) for m in moments), *((float(m), thump) for m in moments))


def _train(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.9)[v], samples(0.75)
    chord = sum(tone(line(n, [(0, 0.96 * f * s), (0.1, f * s), (1, f * s)])) for f in (587, 740, 880))
    x = chord + 0.35 * noise(n, rng, 500, 4000)
    return shaped(x, [(0, 0), (0.08, 1), (0.85, 0.9), (1, 0)])


def _bicycle(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 1.1)[v]
    ping = struck(0.4, [(2350 * s, 1, 0.5), (3720 * s, 0.6, 0.35), (6150 * s, 0.4, 0.2)])
    return shaped(at(0.7, *((0.06 * i, ping) for i in range(7))), [(0, 1), (0.7, 1), (1, 0)])


def _airplane(v: int, rng: np.random.Generator) -> Wave:
    """A jet: a whine and a rush that fall as it flies past."""
    s, n = (1.0, 1.12)[v], samples(0.75)
    whine = tone(line(n, [(0, 2900 * s), (0.35, 2800 * s), (0.65, 2050 * s), (1, 1950 * s)]))
    rush = noise(n, rng, 150, 3000, 3)
    return shaped(
        whine + 0.5 * tone(line(n, [(0, 1460 * s), (0.35, 1410 * s), (0.65, 1030 * s), (1, 980 * s)])) + rush,
        [(0, 0.08), (0.5, 1), (1, 0)],
    )


def _helicopter(v: int, rng: np.random.Generator) -> Wave:
    beat = (0.075, 0.09)[v]
    chop = shaped(noise(samples(0.055), rng, 80, 1800, 4), [(0, 0), (0.25, 1), (1, 0)])
    moments = np.arange(0, 0.72, beat)
    whine = 0.06 * tone(line(samples(0.75), 2400))
    x = at(0.75, *((float(m), chop) for m in moments)) + whine
    return shaped(x, [(0, 0.4), (0.1, 1), (0.85, 1), (1, 0)])


def _rocket(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.75)
    rising = line(n, [(0, 300), (0.4, 900), (1, (2500, 2200)[v])])
    x = resonate(noise(n, rng), rising, 1.5)
    x = x / x.std() * (1 + 0.4 * np.abs(wobble(n, rng, 300))) + 0.4 * noise(n, rng, 2500, 7800)
    return shaped(x, [(0, 0), (0.5, 0.5), (0.92, 1), (1, 0)])


def _flying_saucer(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.3)[v], samples(0.75)
    t = np.arange(n) / RATE
    f0 = 620 * s * 2 ** (0.45 * np.sin(2 * np.pi * 9 * t))
    return shaped(tone(f0) + 0.25 * tone(1.5 * f0), [(0, 0), (0.15, 1), (0.85, 1), (1, 0)])


def _sailboat(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.75)
    low, high = noise(n, rng, 150, 900, 3), noise(n, rng, 900, 5000, 2)
    peak = (0.45, 0.6)[v]
    x = low * line(n, [(0, 0.1), (peak, 1), (1, 0.2)]) + high * line(n, [(0, 0), (peak, 0.9), (1, 0)]) ** 2
    return shaped(x, [(0, 0), (0.1, 0.7), (0.9, 0.6), (1, 0)])


def _ship(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.19)[v], samples(0.75)
    x = voice(line(n, 98 * s), [(300, 200, 1), (700, 200, 0.4)], rng, 3, 0.02, 0.002)
    x += voice(line(n, 123 * s), [(350, 200, 1)], rng, 3, 0.0, 0.002)
    return shaped(x, [(0, 0), (0.12, 1), (0.88, 1), (1, 0)])


def _clock(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 0.85)[v]

    def click(f: float) -> Wave:
        hit = struck(0.1, [(f * s, 1, 0.09), (1.7 * f * s, 0.7, 0.06), (2.9 * f * s, 0.5, 0.04)])
        hit[:64] += noise(64, rng, 2000)[:64] * np.linspace(0.5, 0, 64)
        return hit

    return at(0.5, (0, click(2100)), (0.36, click(1500)))


def _umbrella(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.75)
    drops = []
    for _ in range(70):
        f = rng.uniform(1500, 4500)
        drops.append((rng.uniform(0, 0.72), rng.uniform(0.2, 1) * struck(0.02, [(f, 1, 0.012)])))
    x = at(0.75, *drops) + 0.12 * noise(n, rng, (2200, 1800)[v], 7500)
    return shaped(x, [(0, 0), (0.12, 1), (0.85, 1), (1, 0)])


def _balloon(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.14)
    x = noise(n, rng, 150, 6000, (3, 4)[v]) * decay(n, (0.1, 0.12)[v]) + tone(line(n, 190)) * decay(n, 0.06)
    return x * line(n, [(0, 0.2), (0.01, 1), (1, 1)])


def _telephone(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 1.12)[v]
    hits = []
    for i in range(14):
        f = (1180, 1480)[i % 2] * s
        hits.append((0.042 * i, struck(0.12, [(f, 1, 0.15), (2.7 * f, 0.5, 0.08), (0.52 * f, 0.3, 0.1)])))
    return shaped(at(0.7, *hits), [(0, 1), (0.85, 1), (1, 0)])


def _hammer(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 0.9)[v]
    x = struck(0.6, [(905 * s, 0.7, 0.5), (1960 * s, 1, 0.7), (3310 * s, 0.8, 0.5), (5020 * s, 0.5, 0.35)])
    x[:300] += noise(300, rng) * np.linspace(0.8, 0, 300)
    return x


def _scissors(v: int, rng: np.random.Generator) -> Wave:
    n = samples((0.2, 0.24)[v])
    slide = noise(n, rng, 2500, 7800) * line(n, [(0, 0), (0.5, 0.35), (0.9, 0.6), (1, 0)])
    close = struck(0.08, [(4200, 1, 0.05), (6100, 0.8, 0.04), (2900, 0.4, 0.05)])
    close[:80] += noise(80, rng, 3000) * np.linspace(1, 0, 80)
    return at(0.34, (0, slide), (n / RATE - 0.01, 1.6 * close))


def _camera(v: int, rng: np.random.Generator) -> Wave:
    def click(f: float, ring: float) -> Wave:
        x = noise(samples(0.05), rng, f, 7000, 2) * decay(samples(0.05), ring)
        return x + 0.5 * struck(0.05, [(f, 1, ring)])

    motor = 0.25 * square(line(samples(0.24), 310), 0.2) * line(samples(0.24), [(0, 0), (0.1, 1), (0.9, 1), (1, 0)])
    gap = (0.07, 0.1)[v]
    return at(0.45, (0, click(1100, 0.03)), (gap, 0.9 * click(700, 0.05)), (gap + 0.04, 0.5 * motor))


def _basketball(v: int, rng: np.random.Generator) -> Wave:
    s = (1.0, 0.85)[v]
    n = samples(0.35)
    f0 = line(n, [(0, 150 * s), (0.2, 105 * s), (1, 95 * s)])
    x = tone(f0) * decay(n, 0.3) + 0.35 * struck(0.35, [(560 * s, 1, 0.2), (905 * s, 0.6, 0.15)])
    x[:200] += 0.5 * noise(200, rng, 200, 2500) * np.linspace(1, 0, 200)
    return x


def _house(v: int, rng: np.random.Generator) -> Wave:
    """A creaking door: slip and stick, faster and slower."""
    n = samples(0.72)
    f0 = line(n, ([(0, 55), (0.4, 110), (0.7, 80), (1, 150)], [(0, 130), (0.5, 60), (1, 105)])[v])
    x = voice(f0, [(640, 60, 1), (1450, 80, 0.8), (2450, 100, 0.6)], rng, 0, 0.05, 0.12)
    return shaped(x, [(0, 0), (0.15, 1), (0.5, 0.6), (0.8, 1), (1, 0)])


def _christmas_tree(v: int, rng: np.random.Generator) -> Wave:
    def shake() -> Wave:
        pings = [(rng.uniform(5000, 7600), rng.uniform(0.3, 1), 0.16) for _ in range(9)]
        return struck(0.2, pings)

    beat = (0.16, 0.14)[v]
    return shaped(at(0.74, *((beat * i, shake()) for i in range(4))), [(0, 1), (0.8, 1), (1, 0)])


def _volcano(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.75)
    boom = tone(line(n, [(0, (95, 80)[v]), (0.2, 48), (1, 38)])) * line(n, [(0, 0), (0.03, 1), (1, 0.1)])
    rubble = noise(n, rng, 30, 260, 3) * line(n, [(0, 0), (0.05, 0.8), (1, 0.3)])
    return shaped(boom + 0.5 * rubble, [(0, 1), (0.8, 0.8), (1, 0)])


def _cloud(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.75)
    crack = noise(n, rng, 300, 7500, 2) * decay(n, (0.3, 0.45)[v])
    roll = noise(n, rng, 50, 500, 4) * line(n, [(0, 0.3), (0.25, 1), (1, 0.2)]) * (1 + 0.6 * wobble(n, rng, 16))
    return shaped(1.3 * crack + 0.8 * roll, [(0, 0.3), (0.02, 1), (0.8, 0.7), (1, 0)])


def _fire(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.75)
    pops = []
    for _ in range((16, 22)[v]):
        size = samples(rng.uniform(0.004, 0.012))
        pop = noise(size, rng, 800, 6500) * np.linspace(1, 0, size) * rng.uniform(0.4, 1.6)
        pops.append((rng.uniform(0, 0.72), pop))
    x = at(0.75, *pops) + 0.12 * noise(n, rng, 60, 500, 3)
    return shaped(x, [(0, 0), (0.05, 1), (0.9, 1), (1, 0)])


def _ghost(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 0.88)[v], samples(0.75)
    t = np.arange(n) / RATE
    f0 = line(n, [(0, 400 * s), (0.5, 620 * s), (1, 330 * s)]) * (1 + 0.05 * np.sin(2 * np.pi * 6.5 * t))
    x = voice(f0, [(450, 200, 1), (850, 150, 0.8), (2700, 300, 0.25)], rng, 4, 0.25, 0.004)
    return shaped(x, [(0, 0), (0.35, 1), (0.7, 0.9), (1, 0)])


def _baby(v: int, rng: np.random.Generator) -> Wave:
    s, n = (1.0, 1.12)[v], samples(0.72)
    f0 = line(n, [(0, 380 * s), (0.15, 520 * s), (0.6, 480 * s), (1, 330 * s)])
    x = voice(f0, [(1050, 250, 1), (1500, 250, 0.6), (3400, 500, 0.6)], rng, 2, 0.08, 0.02)
    return shaped(x, [(0, 0), (0.1, 0.9), (0.5, 1), (0.8, 0.7), (1, 0)])


def _clown(v: int, rng: np.random.Generator) -> Wave:
    n = samples(0.65)
    f0 = line(n, ([(0, 650), (1, 2600)], [(0, 800), (0.8, 2300), (1, 2900)])[v])
    x = tone(f0) + 0.1 * tone(3 * f0) + 0.06 * noise(n, rng, 800, 5000)
    return shaped(x, [(0, 0), (0.06, 1), (0.9, 1), (1, 0)])


def robot(v: int, rng: np.random.Generator, step: int) -> Wave:
    f = (440, 466)[v] * 2 ** (SCALE[step] / 12)
    n = samples(0.4)
    return shaped(square(line(n, f), (0.5, 0.25)[v]), [(0, 0), (0.03, 1), (0.95, 1), (1, 0)])


SYNTHESES: dict[str, Callable[[int, np.random.Generator], Wave]] = {
    name[1:].replace("_", " "): value
    for name, value in list(globals().items())
    if name.startswith("_") and callable(value) and name[1:].replace("_", " ") in {s.thing for s in SOUNDS}
}
