"""The playground's language: what is said can be read back, is judged rightly, and what is held out stays out."""

import importlib
import pkgutil
import random
import re
from dataclasses import replace

import pytest

from anygen import playground
from anygen.playground import caption as captions
from anygen.playground import edit as edits
from anygen.playground import (
    hearing,
    knowledge,
    question,
    sound_dialogue,
    sound_edit,
    sound_question,
    sums,
    tale,
    unknown,
)
from anygen.playground.arrange import two_things, upright
from anygen.playground.caption import noun_phrase
from anygen.playground.chat import Chat, scenes_of
from anygen.playground.dialogue import MIXTURE, TASKS, corpus_line, in_words, sample_chat
from anygen.playground.language import (
    Facts,
    answer_right,
    caption,
    declined,
    draw_request,
    facts_of,
    page_right,
    paraphrase,
    parse_caption,
    story_request,
    thing_called,
    unknown_right,
)
from anygen.playground.scene import Scene, is_heldout, place_of, relation_of, sample_scene
from anygen.playground.slips import slip, slipped
from anygen.playground.things import THINGS
from anygen.playground.word import INVERSE, RELATION_WORDS, a, split_part

SPLITS = ("train", "heldout")


def last_text(chat: Chat) -> str:
    return " ".join(part["text"] for part in chat.messages[-1]["content"] if part["type"] == "text")


def user_texts(chat: Chat) -> list[str]:
    return [p["text"] for m in chat.messages if m["role"] == "user" for p in m["content"] if p["type"] == "text"]


def with_defaults(facts: Facts, kind: str) -> Facts:
    """With what a request leaves unsaid: a medium thing in the middle of a meadow, the first of two on the left."""
    name = facts.things[0][0]
    if kind == "one":
        facts = replace(facts, sizes=facts.sizes or ((name, "medium"),), places=facts.places or ((name, "middle"),))
    if kind == "pair" and not facts.relation:
        facts = replace(facts, relation=(name, "left of", facts.things[1][0]))
    return replace(facts, backdrop=facts.backdrop or "meadow")


@pytest.mark.parametrize("split", SPLITS)
def test_captions_are_read_back_exactly(split: str) -> None:
    stream = random.Random(0)
    for _ in range(2000):
        scene = sample_scene(stream, split=split)
        text = caption(scene)
        assert parse_caption(text) == facts_of(scene), text
        assert len(text.split()) <= 14


@pytest.mark.parametrize("split", SPLITS)
def test_paraphrases_and_requests_say_what_the_caption_says(split: str) -> None:
    stream = random.Random(1)
    for _ in range(1500):
        scene = sample_scene(stream, split=split)
        for text in (paraphrase(scene, stream, split), draw_request(scene, stream, split)):
            said = parse_caption(text)
            assert said is not None, text
            assert with_defaults(said, scene.kind).agrees(facts_of(scene)), text


@pytest.mark.parametrize("relation", ["left of", "right of", "above", "below"])
def test_a_request_for_two_things_is_not_the_request_for_them_the_other_way_round(relation: str) -> None:
    """Else one request would have two answers, and swapping what is asked for would be right now and then."""
    stream = random.Random(relation)
    other = RELATION_WORDS[INVERSE[relation]]
    for _ in range(400):
        asked = noun_phrase(two_things("dog", relation, "car", "meadow", stream), stream)
        assert not any(word in asked for word in other), asked


def test_slips_leave_what_is_meant() -> None:
    stream = random.Random(2)
    changed, right = 0, 0
    for _ in range(600):
        scene = sample_scene(stream)
        text = draw_request(scene, stream)
        typed = slip(text, stream)
        changed += typed != text
        said = parse_caption(typed)
        meant = facts_of(scene)
        if said is not None and len(said.things) == len(meant.things):
            right += with_defaults(said, scene.kind).agrees(meant)
    assert changed > 300 and right > 530  # the reader wants more of the small words than people do


def test_only_what_a_user_types_has_slips() -> None:
    chat = sample_chat(random.Random(3), "edit")
    assert slipped(chat, random.Random(0), 0.0) == chat
    other = [slipped(chat, random.Random(seed), 1.0) for seed in range(30)]
    assert any(one != chat for one in other)
    for one in other:
        assert one.facts == chat.facts and one.messages[1::2] == chat.messages[1::2]
        media = [[p for p in m["content"] if p["type"] != "text"] for m in one.messages]
        assert media == [[p for p in m["content"] if p["type"] != "text"] for m in chat.messages]


def test_every_name_means_its_thing_only() -> None:
    for item in THINGS:
        for name in (item.name, item.plural, *item.synonyms):
            assert thing_called(name) == item.name


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("a large cat at the top left, meadow", Facts(
            things=(("cat", 1),), sizes=(("cat", "large"),), places=(("cat", "top left"),), backdrop="meadow")),
        ("two hot dogs at night", Facts(things=(("hot dog", 2),), backdrop="night")),
        ("a dog behind a cat", Facts(things=(("dog", 1), ("cat", 1)), relation=("dog", "behind", "cat"))),
        ("a dog with a kitty to the left of it", Facts(
            things=(("dog", 1), ("cat", 1)), relation=("cat", "left of", "dog"))),
        ("nothing that we know", None),
    ],
)  # fmt: skip
def test_reading_by_hand(text: str, facts: Facts | None) -> None:
    assert parse_caption(text) == facts


def test_agreement_knows_both_ways_of_a_relation_but_not_another_one() -> None:
    left = parse_caption("a cat left of a dog, night")
    right = parse_caption("a dog right of a cat, night")
    wrong = parse_caption("a dog left of a cat, night")
    assert left and right and wrong
    assert left.agrees(right)
    assert not left.agrees(wrong)


def families() -> list[tuple[str, tuple]]:
    """Every family of templates: tuples of five or more texts, by name."""
    found = [(f"noun phrases {kind}", phrases) for kind, phrases in captions.NOUN_PHRASES.items()]
    found += [(f"sounds {kind}", phrases) for kind, phrases in hearing.NOUN_PHRASES.items()]
    modules = (captions, question, edits, knowledge, sums, unknown, tale, hearing, sound_question, sound_edit)
    for module in (*modules, sound_dialogue):
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, tuple) and len(value) >= 5 and "{" in str(value):
                found.append((f"{module.__name__}.{name}", value))
    return found


def test_templates_are_many_differ_and_keep_a_fifth_out() -> None:
    assert sum(map(len, captions.NOUN_PHRASES.values())) >= 30
    for name, family in families():
        train, heldout = (set(map(str, split_part(family, split))) for split in SPLITS)
        assert heldout and not train & heldout, name
        assert len(train) + len(heldout) == len(family) + len(getattr(family, "more", ())), name
        assert 0.1 <= len(heldout) / len(family) <= 0.25, name


@pytest.mark.parametrize("task", TASKS)
def test_training_and_held_out_chats_share_no_picture_to_draw_and_no_fixed_words(task: str) -> None:
    train, heldout = random.Random(2), random.Random(2)
    for _ in range(200):
        chat = sample_chat(train, task, "train")
        assert not any(is_heldout(scene) for scene in scenes_of(chat))
        chat = sample_chat(heldout, task, "heldout")
        if task in ("draw", "caption", "vqa", "pope", "edit", "dialogue"):
            assert is_heldout(scenes_of(chat)[-1])


def test_training_never_uses_held_out_words() -> None:
    fixed = [
        template.rstrip(".?!").lower()
        for family in (question.DESCRIBE, question.WHAT, question.BACKDROP, question.WHAT_ALL, knowledge.ABILITIES)
        for template in split_part(family, "heldout")
    ]
    stream = random.Random(3)
    seen = {text.rstrip(".?!").lower() for _ in range(4000) for text in user_texts(sample_chat(stream))}
    assert not seen & set(fixed)


def phrasings() -> dict[str, tuple[str, ...]]:
    """Every family of phrasings in the playground, by module and name; those of a table also by its key."""
    found = {}
    for info in pkgutil.iter_modules(playground.__path__):
        module = importlib.import_module(f"anygen.playground.{info.name}")
        for name, value in vars(module).items():
            entries = value.items() if isinstance(value, dict) and name != "QUESTIONS_FOR" else [("", value)]
            for key, family in entries:
                if isinstance(family, tuple) and len(family) >= 5 and all(isinstance(item, str) for item in family):
                    if sum(" " in item for item in family) > len(family) / 2:
                        found[f"{info.name}.{name} {key}".rstrip()] = family
    return found


def test_what_one_family_holds_out_no_other_trains() -> None:
    def said(split: str) -> dict[str, str]:
        return {
            item.lower().rstrip(".?!"): name for name, items in phrasings().items() for item in split_part(items, split)
        }

    assert len(phrasings()) > 150
    trained, heldout = said("train"), said("heldout")
    both = {item: (trained[item], heldout[item]) for item in trained.keys() & heldout.keys()}
    assert not both


def test_counting_on_is_of_trainings_sums_and_never_asked_of_a_model() -> None:
    stream, pairs = random.Random(0), sums.number_pairs("train", 20)
    words = {name: number for number, name in enumerate(sums._WORDS)}
    for _ in range(300):
        ask, ways = sums.count_on(stream, "train")
        said = [words[word] for word in re.findall(r"[a-z]+", ways[0].lower()) if word != "and"]
        step = said[1] - said[0]
        start, asked = (
            said[0] - step,
            {words.get(w, int(w) if w.isdigit() else 0) for w in re.findall(r"\w+", ask.lower())},
        )
        assert step in (1, -1) and said == list(range(said[0], said[-1] + step, step))
        assert {start, len(said)} <= asked and (min(start, said[-1]), len(said)) in pairs
    fields = {knowledge.world_question(stream, "heldout")[0] for _ in range(2000)}
    assert "count on" not in fields and "count to" in fields
    assert "count on" in {knowledge.world_question(stream)[0] for _ in range(500)}


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_sums_are_counted_step_by_step(split: str) -> None:
    stream, numbers = random.Random(1), {name: number for number, name in enumerate(sums._WORDS)}
    for _ in range(300):
        field, _, ways = knowledge.world_question(stream, split, knowledge.SUMS[split])
        if field == "count on":
            assert split == "train"
            continue
        counted, full = ways[0].rstrip(".").split(": ")
        steps = [re.fullmatch(r"(\w+) (more|less) is (\w+)", step.lower()) for step in counted.split(", ")]
        told = [(numbers[step[1]], step[2], numbers[step[3]]) for step in steps if step]
        by, word, total = told[-1]
        start = total - by if word == "more" else total + by
        sign = 1 if word == "more" else -1
        assert told == [(i, word, start + sign * i) for i in range(1, len(steps) + 1)]
        assert (min(start, total), by) in sums.number_pairs(split, 20 if split == "train" else 10)
        assert ways[1] == sums.sentence(full) and sums._WORDS[total] in full.lower() and str(total) in ways[-1]


def test_a_sum_that_is_counted_wrong_is_wrong() -> None:
    facts = {"accept": knowledge.FIELDS["sum"](random.Random(0), "train")[1]}
    right = facts["accept"][0]
    assert answer_right(right, facts) and answer_right(right.split(": ")[1], facts)
    assert not answer_right(right.replace("One", "Two"), facts)


def test_held_out_sums_and_names() -> None:
    assert not set(sums.number_pairs("train")) & set(sums.number_pairs("heldout"))
    assert len(sums.number_pairs("train") + sums.number_pairs("heldout")) == 45
    assert not set(sums.number_pairs("train", 20)) & set(sums.number_pairs("heldout"))
    for names in (unknown.UNKNOWN, unknown.PLACES_UNKNOWN):
        assert len(set(names)) == len(names)
        assert not set(unknown.thirds(names, "train")) & set(unknown.thirds(names, "heldout"))
    assert len(unknown.UNKNOWN) >= 60


@pytest.mark.parametrize("name", unknown.UNKNOWN + unknown.PLACES_UNKNOWN)
def test_unknown_names_are_no_things(name: str) -> None:
    assert thing_called(name) is None and thing_called(name + "s") is None
    assert parse_caption(f"draw {a(name)}") is None


def test_made_up_words_are_no_things() -> None:
    stream = random.Random(4)
    assert all(parse_caption(unknown.nonsense(stream)) is None for _ in range(2000))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS)
def test_the_given_answer_is_right(task: str, split: str) -> None:
    stream = random.Random(5)
    for _ in range(300):
        chat = sample_chat(stream, task, split)
        assert chat.task == task
        assert [m["role"] for m in chat.messages] == ["user", "assistant"] * (len(chat.messages) // 2)
        if task == "story":
            parts = chat.messages[-1]["content"]
            assert [part["type"] for part in parts] == ["text", "image"] * chat.facts["pages"]
            for text, picture in zip(parts[::2], parts[1::2], strict=True):
                assert page_right(text["text"], picture["scene"]), text["text"]
                assert picture["scene"].things[0].thing == chat.facts["hero"]
        else:
            assert answer_right(last_text(chat), chat.facts), (last_text(chat), chat.facts)


@pytest.mark.parametrize("task", ["caption", "vqa", "pope", "world", "unknown", "draw"])
def test_another_answer_is_mostly_wrong(task: str) -> None:
    stream = random.Random(6)
    chats = [sample_chat(stream, task) for _ in range(200)]
    taken = [answer_right(last_text(other), chat.facts) for chat, other in zip(chats, chats[1:], strict=False)]
    assert sum(taken) < 0.1 * len(taken)


def test_answers_are_judged_by_content_not_by_case() -> None:
    facts = {"accept": ["A cat and a dog."]}
    assert answer_right("a cat and a dog", facts)
    assert answer_right("The cat and the dog!", facts)
    assert not answer_right("A cat and a dog and a car.", facts)
    assert not answer_right("A cat.", facts)
    assert not answer_right("", facts)


def test_unknown_is_declined_by_name() -> None:
    assert unknown_right(unknown.decline("zebra"), "zebra")
    assert not unknown_right(unknown.decline("zebra"), "dragon")
    assert not unknown_right("Here it is: a cat, meadow.", "zebra")


def test_half_of_pope_is_yes() -> None:
    stream = random.Random(7)
    yes = sum(last_text(sample_chat(stream, "pope")).startswith("Yes") for _ in range(1000))
    assert 440 < yes < 560


@pytest.mark.parametrize("kind", list(edits.EDITS))
def test_edits_keep_the_rest(kind: str) -> None:
    stream = random.Random(8)
    done = 0
    while done < 40:
        found, source, _, target = edits.sample_edit(stream)
        if found != kind:
            continue
        done += 1
        assert target.variant == source.variant
        assert caption(target) != caption(source)
        if kind == "backdrop":
            assert target == replace(source, backdrop=target.backdrop)
            continue
        assert target.backdrop == source.backdrop
        before, after = source.things, target.things
        if kind == "replace":
            assert [(p.size, p.x, p.y) for p in before] == [(p.size, p.x, p.y) for p in after]
            assert sum(p.thing != q.thing for p, q in zip(before, after, strict=True)) == 1
        elif kind == "move":
            assert replace(before[0], x=after[0].x, y=after[0].y) == after[0]
            assert place_of(before[0].x, before[0].y) != place_of(after[0].x, after[0].y)
        elif kind == "resize":
            assert replace(before[0], size=after[0].size) == after[0]
        elif kind == "add":
            assert after[1:] == before
        elif kind == "remove":
            assert set(after) < set(before) and len(after) == len(before) - 1
        else:
            kept = {(p.thing, p.x, p.y) for p in before} & {(p.thing, p.x, p.y) for p in after}
            assert len(kept) == min(len(before), len(after))


def test_edited_pairs_stand_as_their_relation_says() -> None:
    stream = random.Random(9)
    for _ in range(500):
        target = edits.sample_edit(stream)[3]
        if target.kind == "pair":
            assert relation_of(*target.things) == target.relation


def test_an_edit_of_an_unseen_picture_follows_from_its_caption() -> None:
    """In a dialogue the place of what remains must follow from words, for the picture is not seen again."""
    source = sample_scene(random.Random(10), "pair")
    stream = random.Random(11)
    told: dict[str, set[str]] = {}
    for _ in range(300):
        edited = edits.edit(source, stream, seen=False)
        if edited and edited[0] == "remove":
            told.setdefault(edited[2].things[0].thing, set()).add(caption(edited[2]))
    assert told and all(len(texts) == 1 for texts in told.values())


def test_the_same_stream_gives_the_same_chats() -> None:
    one, two = random.Random(12), random.Random(12)
    assert [sample_chat(one) for _ in range(200)] == [sample_chat(two) for _ in range(200)]
    assert {sample_chat(one).task for _ in range(600)} == set(TASKS) == set(MIXTURE)


def test_a_task_or_split_that_is_none_names_itself() -> None:
    with pytest.raises(ValueError, match="no task is called 'sing'"):
        sample_chat(random.Random(0), "sing")
    with pytest.raises(ValueError, match="'test'"):
        sample_chat(random.Random(0), "draw", "test")


def test_corpus_tells_given_pictures_in_words() -> None:
    stream = random.Random(13)
    bracketed = 0
    for _ in range(500):
        chat = corpus_line(stream)
        given = [p for m in chat.messages if m["role"] == "user" for p in m["content"]]
        assert all(part["type"] == "text" for part in given)
        bracketed += any(part["text"].startswith("[") for part in given)
    assert bracketed > 150


def test_story_request() -> None:
    assert story_request("A cat who wants to fly.", 4) == "Tell a story about a cat who wants to fly in 4 pages."


def test_scene_is_of_one_size_that_fits() -> None:
    """Scenes that are arranged on request lie on the canvas and are what they were asked to be."""
    from anygen.playground.arrange import counted_things, fits, one_thing, two_things

    stream = random.Random(14)
    scenes: list[Scene] = [one_thing("cat", "sea", stream, size="large", place="bottom right")]
    scenes += [counted_things("cat", count, "sea", stream) for count in (2, 3, 4)]
    scenes += [two_things("cat", r, "dog", "sea", stream) for r in ("left of", "above", "in front of")]
    assert all(fits(placed) for scene in scenes for placed in scene.things)
    assert caption(scenes[0]) == "a large cat at the bottom right, sea"
    assert [caption(scene) for scene in scenes[1:4]] == ["two cats, sea", "three cats, sea", "four cats, sea"]
    assert all(relation_of(*scene.things) == scene.relation for scene in scenes[4:])


def test_declining_by_a_wrong_name_is_still_declining() -> None:
    said = unknown.decline("zebra")
    assert declined(said) and declined("I do not know what a zebra sounds like. I can play a dog, for example.")
    assert not declined("Here it is: a cat, meadow.") and not declined(f"{said} Here it is: a cat, meadow.")
    assert declined(said) and not unknown_right(said, "dragon")


def test_made_up_words_are_neither_known_nor_held_out() -> None:
    stream = random.Random(5)
    words = {unknown.nonsense(stream) for _ in range(2000)}
    assert len(words) > 1800
    assert not words & set(unknown.UNKNOWN)
    assert not any(thing_called(word) for word in words)


def test_of_a_picture_one_caption_is_told() -> None:
    stream = random.Random(4)
    turned = 0
    for _ in range(500):
        scene = sample_scene(stream, "pair", stream.choice(SPLITS))
        told = upright(scene)
        assert facts_of(told).agrees(facts_of(scene)) and is_heldout(told) == is_heldout(scene)
        assert upright(told) == told
        assert relation_of(*told.things) == told.relation
        turned += told != scene
        flipped = replace(scene, things=scene.things[::-1], relation=relation_of(*scene.things[::-1]))
        if scene.relation != "in front of" and is_heldout(flipped) == is_heldout(scene):
            assert upright(flipped) == told
    assert turned > 100
    chat = sample_chat(random.Random(0), "caption")
    assert last_text(chat)[1:-1] == last_user_words(in_words(chat))[2:-1]


def last_user_words(chat: Chat) -> str:
    return next(text for text in user_texts(chat) if text.startswith("["))


def test_stories_mostly_begin_where_their_hero_lives_and_say_no_page_twice() -> None:
    stream = random.Random(0)
    told = [(hero, pages) for _, hero, pages in (tale.sample_story(stream) for _ in range(400))]
    at_home = sum(pages[0][1].backdrop == tale.home_of(hero) for hero, pages in told)
    assert 240 < at_home < 400
    assert tale.home_of("shark") == "sea" and tale.home_of("cake") == "room" and tale.home_of("cow") == "meadow"
    assert set(tale._HOME_OF) <= {thing.name for thing in THINGS}
    for _, pages in told:
        texts = [text for text, _ in pages]
        assert len(set(texts)) == len(texts)
