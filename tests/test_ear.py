"""The ear on clips, clean and spoilt, and on what it must refuse."""

import random
from dataclasses import replace

import pytest
import torch

from anygen.error import RequestError
from anygen.evaluation.ear import Ear, Event, Heard, sounds_like
from anygen.evaluation.listening import SPOILT, accuracy, spoil
from anygen.playground.clip import KINDS, Clip, Player, sample_clip
from anygen.playground.mixer import Mixer


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear()


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    return Mixer()


def clips_of(kind: str, n: int) -> list[Clip]:
    stream = random.Random(f"test|{kind}")
    return [sample_clip(stream, kind, "heldout") for _ in range(n)]


@pytest.mark.parametrize("kind", KINDS)
def test_clean_clips_are_heard(ear: Ear, mixer: Mixer, kind: str) -> None:
    clips = clips_of(kind, 12)
    heard = ear.listen(mixer.render(clips))
    assert sum(sounds_like(h, c)["all"] for h, c in zip(heard, clips, strict=True)) >= 11


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_clips_are_heard(ear: Ear, mixer: Mixer, name: str) -> None:
    clips = [clip for kind in KINDS for clip in clips_of(kind, 2)]
    heard = ear.listen(spoil(mixer.render(clips), name, 0))
    assert sum(sounds_like(h, c)["all"] for h, c in zip(heard, clips, strict=True)) >= 8


def test_events_begin_when_they_were_played(ear: Ear, mixer: Mixer) -> None:
    clips = clips_of("then", 6) + clips_of("times", 6)
    for heard, clip in zip(ear.listen(mixer.render(clips)), clips, strict=True):
        for event, played in zip(heard.events, clip.played, strict=True):
            assert event.thing == played.thing and abs(event.onset - played.onset / 16000) < 0.04


def test_what_is_no_clip_is_refused(ear: Ear) -> None:
    rng = torch.Generator().manual_seed(0)
    silence, noise = torch.zeros(64000), torch.randn(64000, generator=rng).clamp(-3, 3) * 0.1
    tone = 0.5 * torch.sin(torch.arange(64000) * 0.4)
    for heard in ear.listen(torch.stack([silence, noise, tone])):
        assert heard.kind is None
        assert not sounds_like(heard, clips_of("once", 1)[0])["all"]


def test_another_clip_is_refused(ear: Ear, mixer: Mixer) -> None:
    clips = [clip for kind in KINDS for clip in clips_of(kind, 2)]
    heard = ear.listen(mixer.render(clips))
    for i, clip in enumerate(clips):
        assert not any(sounds_like(h, clip)["all"] for j, h in enumerate(heard) if clips[j].kind != clip.kind), i


@pytest.mark.parametrize("change", ["thing", "count", "tempo", "distance", "order", "direction", "together"])
def test_one_wrong_fact_is_heard(ear: Ear, mixer: Mixer, change: str) -> None:
    player = Player(random.Random(1))
    twice = player.times("dog", 2, "slow")
    played, wanted = {
        "thing": (twice, player.times("cat", 2, "slow")),
        "count": (twice, player.times("dog", 3, "slow")),
        "tempo": (twice, player.times("dog", 2, "fast")),
        "distance": (twice, replace(twice, loudness="far")),
        "order": (player.then("cat", "train"), player.then("train", "cat")),
        "direction": (player.melody("piano", "rising"), player.melody("piano", "falling")),
        "together": (player.then("cat", "train"), player.together("cat", "train")),
    }[change]
    (heard,) = ear.listen(mixer.render([played]))
    assert sounds_like(heard, played)["all"]
    facts = sounds_like(heard, wanted)
    assert not facts["all"]
    assert facts["sounds_right"] == (change != "thing") and facts["pattern_right"] == (change == "thing")


def test_a_batch_is_heard_as_single_clips_are(ear: Ear, mixer: Mixer) -> None:
    waves = mixer.render([clip for kind in KINDS for clip in clips_of(kind, 1)])
    together, alone = ear.listen(waves), [ear.listen(wave[None])[0] for wave in waves]
    for a, b in zip(together, alone, strict=True):
        assert (a.kind, a.loudness, a.tempo, a.direction) == (b.kind, b.loudness, b.tempo, b.direction)
        assert [(e.thing, e.onset, e.pitch) for e in a.events] == [(e.thing, e.onset, e.pitch) for e in b.events]


def test_louder_quieter_and_shorter_sounds_the_same(ear: Ear, mixer: Mixer) -> None:
    clip = Player(random.Random(2), gain=3300).times("bell", 2, "fast")
    wave = mixer.render([clip]).float() / 32768
    for gain in (0.6, 1.5):
        assert sounds_like(ear.listen((wave * gain).clamp(-1, 1))[0], clip)["all"], gain
    end = clip.played[-1].onset + 14000
    assert sounds_like(ear.listen(wave[:, :end])[0], clip)["all"]


def test_sounds_like_by_hand() -> None:
    def event(thing: str, onset: float, pitch: int = 0) -> Event:
        return Event(thing=thing, onset=onset, pitch=pitch, loudness="near", score=1.0)

    player = Player(random.Random(0))
    pair = Heard(kind="then", events=(event("cat", 0.1), event("dog", 1.2)), loudness="near")
    assert sounds_like(pair, player.then("cat", "dog")) == {"sounds_right": True, "pattern_right": True, "all": True}
    assert sounds_like(pair, player.then("dog", "cat")) == {"sounds_right": True, "pattern_right": False, "all": False}
    both = replace(pair, kind="together")
    assert sounds_like(both, player.together("dog", "cat"))["all"]
    assert not sounds_like(replace(pair, loudness="far"), player.then("cat", "dog"))["all"]
    assert not any(sounds_like(Heard(kind=None, events=()), player.once("cat")).values())


def test_accuracy_is_a_share() -> None:
    figures = accuracy(5, seed=3)
    assert figures["n"] == 5 and figures["low"] <= figures["accuracy"] <= figures["high"]


def test_wrong_shapes_are_named(ear: Ear) -> None:
    with pytest.raises(RequestError, match=r"torch.int64 \(2, 64000\)"):
        ear.listen(torch.zeros(2, 64000, dtype=torch.int64))
    with pytest.raises(RequestError, match="64000 samples at most, not 70000"):
        ear.listen(torch.zeros(1, 70000))
