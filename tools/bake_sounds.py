"""Bakes the sound bank (Debian: fluidsynth, fluid-soundfont-gm): `python tools/bake_sounds.py SOUNDFONT.sf2`.

Instruments are played by FluidSynth from the sound font, everything else comes from `synthesised_sounds.py`. For each
sound there are two recordings of at most 0.75 s, of pitched ones at five pitches of a major scale, all equally loud.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from synthesis import Wave, samples
from synthesised_sounds import SCALE, SYNTHESES, robot

from anygen.playground.sound import EVENT, PITCHES, RATE, SOUNDS, VARIANTS

PEAK = 0.49  # two events at once must not clip
DRIVE = 2.5  # how far above the peak a click may be rounded down from
LOUD = 0.105  # of the loudest fifth of a second, weighted as below

# --- instruments of the sound font: for each recording program (from 0; None: the drum kit), lowest key and velocity

INSTRUMENTS: dict[str, tuple[tuple[int | None, int, int], tuple[int | None, int, int]]] = {
    "guitar": ((25, 52, 100), (24, 52, 100)),
    "piano": ((0, 60, 100), (1, 60, 80)),
    "trumpet": ((56, 65, 110), (56, 65, 80)),
    "violin": ((40, 72, 110), (40, 72, 85)),
    "saxophone": ((65, 55, 110), (66, 55, 100)),
    "bell": ((14, 62, 110), (14, 62, 80)),
    "star": ((9, 84, 100), (8, 84, 110)),
    "ferris wheel": ((82, 67, 110), (82, 67, 75)),
    "drum": ((None, 38, 110), (None, 40, 100)),
}
SLOT = 2.0  # seconds from one note to the next
HELD = 0.6


def _quantity(value: int) -> bytes:
    """A MIDI variable-length quantity."""
    out = [value & 127]
    while value := value >> 7:
        out.append(128 | value & 127)
    return bytes(reversed(out))


def played(font: Path) -> dict[str, list[Wave]]:
    """All notes of all instruments: one MIDI file, rendered at once and cut."""
    notes = [
        (name, program, key + SCALE[step], velocity)
        for name, recordings in INSTRUMENTS.items()
        for program, key, velocity in recordings
        for step in range(1 if program is None else PITCHES)
    ]
    ticks = 480  # a quarter, half a second
    track, waited = b"", 0
    for _, program, key, velocity in notes:
        channel = 9 if program is None else 0
        if program is not None:
            track += _quantity(waited) + bytes((0xC0, program))
            waited = 0
        track += _quantity(waited) + bytes((0x90 | channel, key, velocity))
        held = round(HELD * 2 * ticks)
        track += _quantity(held) + bytes((0x80 | channel, key, 0))
        waited = round(SLOT * 2 * ticks) - held
    track += _quantity(waited) + b"\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4, "big") + b"\0\0\0\1" + ticks.to_bytes(2, "big")
    with tempfile.TemporaryDirectory() as folder:
        song, out = Path(folder, "notes.mid"), Path(folder, "notes.wav")
        song.write_bytes(header + b"MTrk" + len(track).to_bytes(4, "big") + track)
        options = "-ni -q -R 0 -C 0 -g 0.8 -r 48000 -O float -T wav".split()
        subprocess.run(["fluidsynth", *options, "-F", out, font, song], check=True)
        sound, rate = soundfile.read(out)
    assert rate == 48_000
    sound = sound.mean(1)
    waves: dict[str, list[Wave]] = {name: [] for name in INSTRUMENTS}
    for i, (name, *_) in enumerate(notes):
        start = round(i * SLOT * rate)
        spectrum = np.fft.rfft(sound[start : start + rate])  # one second; only what is below 8 kHz is kept
        spectrum[7600:] = 0
        waves[name].append(np.fft.irfft(spectrum[: RATE // 2 + 1], RATE) / 3)
    return waves


# --- all of them, equally loud


def loudness(x: Wave) -> float:
    """Power of the loudest fifth of a second, lows weighing less, as an ear hears it."""
    n = samples(0.2)
    x = np.pad(x, (0, max(0, n - len(x))))
    f = np.fft.rfftfreq(len(x), 1 / RATE)
    heard = np.fft.irfft(np.fft.rfft(x) / (1 + (180 / np.maximum(f, 1)) ** 2), len(x))
    return max(_strongest(heard), 0.6 * _strongest(x))


def _strongest(x: Wave) -> float:
    n = samples(0.2)
    power = np.cumsum(np.concatenate([[0], x**2]))
    return float(np.sqrt((power[n:] - power[:-n]).max() / n))


def finished(x: Wave) -> np.ndarray:
    """Trimmed, faded, equally loud: int16 of at most EVENT samples."""
    x = x - x.mean()
    heard = np.flatnonzero(np.abs(x) > 0.004 * np.abs(x).max())
    x = x[max(0, heard[0] - 32) : heard[-1] + 1][:EVENT].copy()
    x[:32] *= np.linspace(0, 1, 32)
    fade = min(len(x) // 4, 800 if len(x) == EVENT else 240)
    x[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade)) ** 2
    peak = np.abs(x).max()
    x = x * min(LOUD / loudness(x), DRIVE * PEAK / peak)
    if np.abs(x).max() > PEAK:  # clicks would be too quiet: their tips are rounded
        x = PEAK * np.tanh(x / PEAK)
    return np.round(32768 * x).astype(np.int16)


def bake(font: Path) -> dict[str, list[np.ndarray]]:
    """All events, for each thing variant by variant, each from low to high pitch."""
    events = {name: [finished(x) for x in waves] for name, waves in played(font).items()}
    for sound in SOUNDS:
        if sound.thing in events:
            continue
        made = []
        for variant in range(VARIANTS):
            for step in range(sound.pitches):
                digest = hashlib.sha256(f"{sound.thing}|{variant}".encode()).digest()
                rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
                made.append(robot(variant, rng, step) if sound.pitched else SYNTHESES[sound.thing](variant, rng))
        events[sound.thing] = [finished(x) for x in made]
    assert all(len(events[sound.thing]) == VARIANTS * sound.pitches for sound in SOUNDS)
    return {sound.thing: events[sound.thing] for sound in SOUNDS}


def main() -> None:
    events = bake(Path(sys.argv[1]))
    folder = Path(__file__).parent.parent / "anygen/playground/assets"
    bank, index = folder / "sounds.flac", folder / "sounds.json"
    soundfile.write(bank, np.concatenate([x for row in events.values() for x in row]), RATE, subtype="PCM_16")
    rows = [f"{json.dumps(name)}: {[len(x) for x in row]}" for name, row in events.items()]
    index.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(f"{len(events)} sounds, {bank.stat().st_size} bytes, {bank}")


if __name__ == "__main__":
    main()
