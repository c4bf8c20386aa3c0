"""The playground's sounds: the bank is whole and clean, clips are what they say, and the mixer gives known bits."""

import hashlib
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from anygen.playground import film_dialogue, sound_dialogue, sound_edit, sound_question
from anygen.playground.chat import Chat, clips_of, scenes_of
from anygen.playground.clip import (
    DIRECTIONS,
    EVENTS,
    FULL,
    KINDS,
    LOUDNESSES,
    TEMPOS,
    TIMES,
    Clip,
    Played,
    Player,
    deepest_first,
    is_heldout,
    one_way,
    sample_clip,
    sample_heard,
    settle,
    upright,
)
from anygen.playground.dialogue import MIXTURE, TASKS, in_words, sample_chat, tasks
from anygen.playground.hearing import (
    NOUN_PHRASES,
    SoundFacts,
    parse_sound,
    sound_caption,
    sound_facts,
    sound_paraphrase,
    sound_request,
    told_sound,
)
from anygen.playground.mixer import Mixer
from anygen.playground.reading import answer_right, unheard_right
from anygen.playground.sound import (
    CLIP,
    EVENT,
    INDEX,
    PITCHES,
    RATE,
    SOUNDS,
    TAIL,
    VARIANTS,
    depths,
    event,
    events,
    sound_of,
)
from anygen.playground.things import thing
from anygen.playground.word import split_part

SPLITS = ("train", "heldout")
HEARD = tuple(task for task in TASKS if task not in tasks(("image",)))


def last_text(chat: Chat) -> str:
    return " ".join(part["text"] for part in chat.messages[-1]["content"] if part["type"] == "text")


def log_mel(samples: np.ndarray, bins: int = 64) -> np.ndarray:
    """[frames, bins], log10 of power in bands of equal width in mel."""
    x = np.pad(samples.astype(float) / 32768, (512, 512 + EVENT - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(x, 1024)[::500] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bins + 2) / 2595) - 1)
    f = np.fft.rfftfreq(1024, 1 / RATE)
    low, centre, high = (edges[i : i + bins, None] for i in range(3))
    bands = np.clip(np.minimum((f - low) / (centre - low), (high - f) / (high - centre)), 0, None)
    return np.log10(power @ bands.T + 1e-5)


# --- the bank


def test_each_sound_is_of_its_own_thing() -> None:
    assert len(SOUNDS) >= 48
    assert len({sound.thing for sound in SOUNDS}) == len(SOUNDS)
    assert all(thing(sound.thing).name in sound.heard for sound in SOUNDS)
    assert sum(sound.pitched for sound in SOUNDS) >= 8
    with pytest.raises(KeyError, match="pear"):
        sound_of("pear")


def test_events_are_short_clean_and_evenly_loud() -> None:
    levels = {}
    for name, recorded in events().items():
        assert len(recorded) == VARIANTS * sound_of(name).pitches
        for number, samples in enumerate(recorded):
            assert 0 < len(samples) <= EVENT, name
            x = samples.astype(float) / 32768
            peak = np.abs(x).max()
            assert 0.1 < peak < 0.5, (name, number, peak)
            assert abs(x[0]) < 0.02 * peak and abs(x[-1]) < 0.02 * peak, (name, number)
            assert abs(x.mean()) < 0.01, name
            power = np.convolve(x**2, np.ones(3200) / 3200).max()  # of the loudest fifth of a second
            levels[name, number] = 10 * np.log10(power)
    # what is struck has little power for its peak, what is low counts for less in the ear
    assert max(levels.values()) - min(levels.values()) < 14
    assert np.std(list(levels.values())) < 2.5


def test_no_sound_is_like_another_one() -> None:
    names, mels = [], []
    for sound in SOUNDS:
        for variant in range(VARIANTS):
            for pitch in range(sound.pitches):
                names.append(sound.thing)
                mels.append(log_mel(event(sound.thing, variant, pitch)))
    every = np.stack(mels)
    for name, mel in zip(names, mels, strict=True):
        distance = np.sqrt(np.square(every - mel).mean((1, 2)))
        other = min(d for d, n in zip(distance, names, strict=True) if n != name)
        assert other > 0.45, name


# --- clips


@pytest.mark.parametrize("grid", [None, 1000, 2000, 4000])
@pytest.mark.parametrize("kind", KINDS)
def test_clips_fit_and_are_of_their_kind(kind: str, grid: int | None) -> None:
    stream = random.Random(f"{kind}|{grid}")
    for split in SPLITS:
        for _ in range(200):
            clip = sample_clip(stream, kind, split, grid)
            assert clip.kind == kind and is_heldout(clip) == (split == "heldout")
            assert clip.loudness in LOUDNESSES and 0 < clip.gain <= FULL
            onsets = [played.onset for played in clip.played]
            assert onsets == sorted(onsets) and len(onsets) <= EVENTS
            assert all(0 <= p.onset and p.onset + p.length <= CLIP for p in clip.played)
            assert grid is None or all(onset % grid == 0 for onset in onsets)
            gaps = np.diff(onsets)
            if kind == "times":
                assert len(onsets) in TIMES and len(set(gaps)) == 1
                assert (gaps[0] < 10_000) == (clip.tempo == "fast")
                assert clip.played[0].length < gaps[0]
            elif kind == "melody":
                pitches = [played.pitch for played in clip.played]
                assert sound_of(clip.things[0]).pitched and len(set(pitches)) == 4
                assert pitches == sorted(pitches, reverse=clip.direction == "falling")
            elif kind == "then":
                assert gaps[0] > clip.played[0].length
            elif kind == "together":
                assert gaps[0] <= 800


def test_of_two_sounds_at_once_one_caption_is_told() -> None:
    stream = random.Random(6)
    told = set()
    for _ in range(100):
        clip = sample_clip(stream, "together")
        turned = replace(clip, played=clip.played[::-1])
        assert upright(clip) == upright(turned) and sound_facts(upright(clip)).agrees(sound_facts(clip))
        told.add(upright(clip) == clip)
    assert told == {True, False}
    other = sample_clip(stream, "then")
    assert upright(other) == other


@pytest.mark.parametrize("grid", [None, 2000])
def test_a_settled_clip_sounds_as_its_caption_alone_says(grid: int | None) -> None:
    stream = random.Random(5)
    settled: dict[str, Clip] = {}
    for _ in range(1500):
        clip = sample_clip(stream, grid=stream.choice((None, 2000)))
        calm = settle(clip, grid)
        assert sound_caption(calm) == sound_caption(clip) and settle(calm, grid) == calm
        assert settled.setdefault(sound_caption(calm), calm) == calm
        assert all(played.onset % (grid or 1) == 0 for played in calm.played)
        assert all(played.onset + played.length <= CLIP for played in calm.played)


def test_a_tenth_is_held_out_but_every_sound_is_heard_in_training() -> None:
    play = [Player(random.Random(0), loudness=loudness) for loudness in LOUDNESSES]
    times = [play[0].times(s.thing, n, tempo) for s in SOUNDS for n in TIMES for tempo in TEMPOS]
    pairs = [play[0].then(x.thing, y.thing) for i, x in enumerate(SOUNDS) for y in SOUNDS[:i]]
    once = {s.thing: [is_heldout(player.once(s.thing)) for player in play] for s in SOUNDS}
    melodies = [play[0].melody(s.thing, way) for s in SOUNDS if s.pitched for way in DIRECTIONS]
    for clips in (times, pairs, melodies):
        assert 0.05 < np.mean([is_heldout(clip) for clip in clips]) < 0.17
    assert not any(all(out) for out in once.values()) and any(any(out) for out in once.values())
    assert {clip.direction for clip in melodies if is_heldout(clip)} == set(DIRECTIONS)
    swapped = replace(pairs[0], played=pairs[0].played[::-1])
    assert is_heldout(pairs[0]) == is_heldout(swapped)


def test_a_sound_that_goes_one_way_in_training_is_known_to() -> None:
    stream = random.Random(2)
    heard: dict[str, set[str]] = {}
    for _ in range(800):
        clip = sample_clip(stream, "melody")
        heard.setdefault(clip.things[0], set()).add(clip.direction or "")
        assert one_way(clip) == (len(heard[clip.things[0]]) == 1 and is_heldout(_turned(clip)))
    assert {name for name, ways in heard.items() if len(ways) == 1}
    held = [sample_clip(stream, "melody", "heldout") for _ in range(20)]
    assert not any(map(one_way, held)) and all(one_way(_turned(clip)) for clip in held)
    for clip in (sample_clip(stream, "times") for _ in range(200)):
        other = replace(clip, tempo="slow" if clip.tempo == "fast" else "fast")
        assert one_way(clip) == is_heldout(other)
    assert not any(one_way(sample_clip(stream, kind)) for kind in ("once", "then", "together") for _ in range(20))


def test_which_way_a_melody_goes_is_told_only_of_sounds_that_go_both_ways() -> None:
    stream, melodic = random.Random(4), Counter[str]()
    for task, fact in (("hear", "clip"), ("sound_vqa", "clip"), ("repeat", "source")):
        clips = [sample_chat(stream, task).facts[fact] for _ in range(300)]
        melodies = [clip for clip in clips if clip.kind == "melody"]
        assert len(melodies) > 10 and not any(map(one_way, melodies))
        melodic.update(clip.direction for clip in melodies)
    assert min(melodic["rising"], melodic["falling"]) > 10
    assert any(one_way(sample_clip(stream, "melody")) for _ in range(40))  # they are played all the same
    held = [sample_heard(stream, "melody", "heldout") for _ in range(10)]
    assert all(is_heldout(clip) for clip in held)
    edits = [sound_edit.sample_sound_edit(stream, "heldout")[:2] for _ in range(400)]
    assert ("turn", True) in {
        (kind, one_way(source)) for kind, source in edits
    }  # what is asked of held-out requests stays


def test_of_two_sounds_at_once_the_deeper_one_is_first() -> None:
    player = Player(random.Random(0))
    for clip in (player.together("bee", "mouse"), player.together("mouse", "bee")):
        names = deepest_first(clip).things
        assert [depths()[name] for name in names] == sorted(depths()[name] for name in names)
        assert set(names) == {"bee", "mouse"}
    then = player.then("mouse", "bee")
    assert deepest_first(then) == then and depths()["volcano"] < depths()["scissors"]


def _turned(clip: Clip) -> Clip:
    """The melody the other way round."""
    return replace(clip, direction=DIRECTIONS[1 - DIRECTIONS.index(clip.direction or "")])


@pytest.mark.parametrize(("kind", "split", "named"), [("thrice", "train", "'thrice'"), ("once", "test", "'test'")])
def test_what_is_no_kind_or_split_names_itself(kind: str, split: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        sample_clip(random.Random(0), kind, split)


# --- the mixer


def test_one_event_at_full_gain_is_the_bank_itself() -> None:
    baked = event("cat", 1)
    clip = Clip(kind="once", played=(Played(thing="cat", onset=5000, length=EVENT),), variant=1)
    (mixed,) = Mixer().render([clip])
    assert mixed.dtype == torch.int16 and mixed.shape == (CLIP,)
    whole = len(baked) - 512  # before the mixer's own fade
    assert torch.equal(mixed[5000 : 5000 + whole], torch.from_numpy(baked[:whole]))
    assert not mixed[:5000].any() and not mixed[5000 + len(baked) :].any()


def test_events_add_up_and_a_batch_is_its_rows() -> None:
    stream = random.Random(3)
    mixer = Mixer()
    clips = [sample_clip(stream, kind) for kind in KINDS for _ in range(4)]
    batch = mixer.render(clips)
    for clip, row in zip(clips, batch, strict=True):
        alone = [mixer.render([replace(clip, played=(played,))])[0].to(torch.int32) for played in clip.played]
        assert torch.equal(row.to(torch.int32), torch.stack(alone).sum(0).clamp(-32768, 32767))
    assert torch.equal(mixer.render(clips[:1]), batch[:1])
    assert mixer.mix(torch.zeros(2, EVENTS, 4, dtype=torch.int64)).shape == (2, CLIP)


def test_nothing_clips() -> None:
    stream = random.Random(4)
    mixed = Mixer().render([replace(sample_clip(stream, kind), gain=FULL) for kind in KINDS for _ in range(24)])
    assert int(mixed.to(torch.int32).abs().max()) < 32700


def test_the_bits_are_known() -> None:
    """Integer maths: the same on every machine. The digest changes with the bank only."""
    stream = random.Random(5)
    mixed = Mixer().render([sample_clip(stream, kind) for kind in KINDS for _ in range(4)])
    assert hashlib.sha256(mixed.numpy().tobytes()).hexdigest()[:16] == "554e50b60adcf1f4"


def test_mixing_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    Mixer().render([sample_clip(random.Random(6))])
    assert torch.equal(state, torch.get_rng_state())


def test_far_is_quieter_and_duller_than_near() -> None:
    mixer = Mixer()
    for sound in SOUNDS:
        near, far = (
            mixer.render([Player(random.Random(7), loudness=loudness, variant=0, gain=FULL).once(sound.thing, 0)])[0]
            for loudness in LOUDNESSES
        )
        power = [x.double().square().sum() for x in (near, far)]
        assert 6 < 10 * torch.log10(power[0] / power[1]) < 26, sound.thing
        spectra = [torch.fft.rfft(x.double()).abs().square() for x in (near, far)]
        high = [float(spectrum[4 * 5000 :].sum() / spectrum.sum()) for spectrum in spectra]
        assert high[1] < max(high[0], 1e-4), sound.thing


def test_the_mixer_says_what_sounds() -> None:
    clip = Player(random.Random(8)).then("dog", "cat")
    sounds = Mixer().sounds([clip, Player(random.Random(8)).once("bee")])
    assert sounds.tolist() == [[INDEX["dog"], INDEX["cat"], -1, -1], [INDEX["bee"], -1, -1, -1]]


# --- words


def with_defaults(facts: SoundFacts | None) -> SoundFacts | None:
    """With what a request leaves unsaid: several times means slowly."""
    return replace(facts, tempo="slow") if facts and facts.kind == "times" and not facts.tempo else facts


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_said_of_a_sound_is_read_back(split: str) -> None:
    stream = random.Random(9)
    for _ in range(1500):
        clip = sample_clip(stream, split=split)
        assert parse_sound(sound_caption(clip)) == sound_facts(clip)
        assert len(sound_caption(clip).split()) <= 16
        for text in (sound_paraphrase(clip, stream, split), sound_request(clip, stream, split)):
            said = with_defaults(parse_sound(text))
            assert said and said.agrees(sound_facts(clip)), text


def test_captions_are_all_different() -> None:
    stream = random.Random(10)
    said: dict[str, SoundFacts] = {}
    for _ in range(3000):
        clip = sample_clip(stream)
        assert said.setdefault(sound_caption(clip), sound_facts(clip)) == sound_facts(clip)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("the sound of a dog, once", SoundFacts(kind="once", things=("dog",), count=1)),
        ("the sound of a bell, three times, fast", SoundFacts(kind="times", things=("bell",), count=3, tempo="fast")),
        ("the sound of a piano, rising", SoundFacts(kind="melody", things=("piano",), direction="rising")),
        ("the rain after a kitty", SoundFacts(kind="then", things=("cat", "umbrella"))),
        ("a fire truck and a fire, far away", SoundFacts(
            kind="together", things=("fire engine", "fire"), loudness="far")),
        ("the sound of a pear", None),
        ("nothing at all", None),
    ],
)  # fmt: skip
def test_reading_by_hand(text: str, facts: SoundFacts | None) -> None:
    assert parse_sound(text) == facts


def test_order_counts_in_then_but_not_together() -> None:
    def agree(one: str, two: str) -> bool:
        a, b = parse_sound(one), parse_sound(two)
        assert a and b
        return a.agrees(b)

    assert agree("a cat and a dog together", "a dog and a cat together, close by")
    assert not agree("a cat, then a dog", "a dog, then a cat")
    assert not agree("a cat, then a dog", "a cat and a dog together")
    assert not agree("a cat, twice, fast", "a cat, twice, slow")
    assert not agree("a cat, once", "a cat, once, far away")


def test_many_ways_to_say_it() -> None:
    assert sum(map(len, NOUN_PHRASES.values())) >= 30
    clip = Player(random.Random(11)).then("dog", "cat")
    stream = random.Random(11)
    assert len({sound_request(clip, stream) for _ in range(300)}) > 150
    assert told_sound(clip) == "The sound of a dog, then a cat."


# --- chats


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", HEARD)
def test_the_given_answer_is_right_and_splits_share_nothing(task: str, split: str) -> None:
    from anygen.playground.scene import is_heldout as scene_is_heldout

    stream = random.Random(12)
    for _ in range(150):
        chat = sample_chat(stream, task, split)
        assert chat.task == task
        assert answer_right(last_text(chat), chat.facts), (last_text(chat), chat.facts)
        if split == "train":
            assert not any(map(is_heldout, clips_of(chat))) and not any(map(scene_is_heldout, scenes_of(chat)))
        elif task in ("hear", "sound", "sound_vqa", "sound_pope", "see", "repeat", "belong"):
            assert is_heldout(clips_of(chat)[-1])
        elif task == "voice":
            assert scene_is_heldout(scenes_of(chat)[-1])


@pytest.mark.parametrize("task", ["hear", "sound", "sound_vqa", "see", "voice", "repeat", "belong"])
def test_another_answer_is_mostly_wrong(task: str) -> None:
    stream = random.Random(13)
    chats = [sample_chat(stream, task) for _ in range(200)]
    taken = [answer_right(last_text(other), chat.facts) for chat, other in zip(chats, chats[1:], strict=False)]
    assert sum(taken) < 0.1 * len(taken)


def test_only_models_that_hear_get_sounds() -> None:
    stream = random.Random(14)
    chats = [sample_chat(stream, media=("image",)) for _ in range(400)]
    assert not any(clips_of(chat) for chat in chats)
    assert {chat.task for chat in chats} == set(tasks(("image",))) == set(TASKS) - set(HEARD)
    assert set(MIXTURE) == set(TASKS)


def test_sounds_are_told_in_words() -> None:
    stream = random.Random(15)
    for task in HEARD:
        for _ in range(50):
            chat = sample_chat(stream, task)
            told = in_words(chat)
            assert all(p["type"] == "text" for m in told.messages if m["role"] == "user" for p in m["content"])
            given = [p["clip"] for m in chat.messages if m["role"] == "user" for p in m["content"] if "clip" in p]
            said = [p["text"] for m in told.messages if m["role"] == "user" for p in m["content"]]
            assert all(f"[{sound_caption(upright(clip))}]" in said for clip in given)


@pytest.mark.parametrize("task", ["sound_pope", "belong"])
def test_half_is_yes(task: str) -> None:
    stream = random.Random(16)
    yes = sum(last_text(sample_chat(stream, task)).startswith("Yes") for _ in range(1000))
    assert 440 < yes < 560


@pytest.mark.parametrize("kind", list(sound_edit.SOUND_EDITS))
def test_edits_keep_the_rest(kind: str) -> None:
    stream = random.Random(17)
    done = 0
    while done < 30:
        found, source, _, target = sound_edit.sample_sound_edit(stream)
        if found != kind:
            continue
        done += 1
        assert (target.variant, target.gain) == (source.variant, source.gain)
        assert sound_caption(target) != sound_caption(source)
        assert kind == "distance" or target.loudness == source.loudness
        if kind in ("tempo", "often", "distance", "turn"):
            assert target.things == source.things
        if kind in ("tempo", "distance"):
            assert len(target.played) == len(source.played)
        if kind in ("tempo", "often"):
            assert {p.pitch for p in target.played} == {p.pitch for p in source.played}
        elif kind == "swap":
            assert target.things == source.things[::-1]
        elif kind == "add":
            assert set(target.things) > set(source.things)
        elif kind == "replace":
            assert len(set(target.things) & set(source.things)) == len(source.things) - 1


@pytest.mark.parametrize("kind", list(sound_question.ASK))
def test_every_question_is_asked_with_words_of_its_split(kind: str) -> None:
    stream = random.Random(18)
    asked: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        while len(asked[split]) < 1:
            clip = sound_question.clip_to_ask(stream, split)
            found, (ask, answer, ways) = sound_question.sound_question(clip, stream, split)
            if found == kind:
                asked[split].add(ask)
                assert answer == ways[0]
    assert not asked["train"] & asked["heldout"]


def test_a_held_out_request_to_tell_a_sound_is_no_training_request_for_anything_else() -> None:
    held = set(split_part(sound_question.DESCRIBE, "heldout"))
    others = [
        *(request.format(how="") for request in sound_dialogue.SOUND_SEEN),
        *(request.format(where="") for request in sound_dialogue.DRAW_HEARD),
        *film_dialogue.SOUND_OF,
    ]
    assert held and held.isdisjoint(others)


def test_an_unknown_sound_is_declined_by_name() -> None:
    reply = "I do not know what a zebra sounds like. I can play a dog, a bell or a train, for example."
    assert unheard_right(reply, "zebra") and not unheard_right(reply, "dragon")
    assert not unheard_right("Here it is: the sound of a dog, once.", "zebra")


def test_the_same_stream_gives_the_same_clips() -> None:
    one, two = random.Random(19), random.Random(19)
    assert [sample_clip(one) for _ in range(200)] == [sample_clip(two) for _ in range(200)]
    assert PITCHES == 5 and TAIL < EVENT
