"""The playground sensed: depth maps, thermal pictures and rides against what they must say, and their chats."""

import random

import numpy as np
import pytest
import torch

from anygen.playground.dialogue import FILM_TASKS, TASKS, in_words, sample_chat, tasks
from anygen.playground.film import Director, Film, is_heldout
from anygen.playground.language import answer_right, caption, parse_film
from anygen.playground.motion import STILL
from anygen.playground.ride import (
    FELT,
    LEADING,
    RATE,
    SAMPLES,
    end_of,
    felt,
    in_units,
    readings,
    sample_ride,
    told_ride,
)
from anygen.playground.scene import Placed, Scene, place_of, sample_scene
from anygen.playground.sensor import SENSORS, DepthSensor, Sensor, ThermalSensor
from anygen.playground.temperature import COLDEST, STEP, level, temperature, warmth
from anygen.playground.things import THINGS, thing


@pytest.fixture(scope="module", params=list(SENSORS))
def sensor(request: pytest.FixtureRequest) -> Sensor:
    return SENSORS[request.param]()


@pytest.fixture(scope="module")
def depth() -> DepthSensor:
    return DepthSensor()


def alone(name: str, size: str = "large", x: float = 0.5, y: float = 0.5, backdrop: str = "space") -> Scene:
    return Scene(kind="one", things=(Placed(thing=name, size=size, x=x, y=y),), backdrop=backdrop)


def test_a_batch_is_its_rows_and_a_scene_is_always_the_same(sensor: Sensor) -> None:
    stream = random.Random(5)
    scenes = [sample_scene(stream) for _ in range(6)]
    together = sensor.render(scenes)
    assert together.shape == (6, 1, 64, 64) and together.dtype == torch.uint8
    assert torch.equal(torch.cat([sensor.render([scene]) for scene in scenes]), together)


def test_where_no_thing_is_the_backdrop_is_seen(sensor: Sensor) -> None:
    one, other = (sensor.render([alone(name, backdrop="city")])[0, 0] for name in ("cat", "dog"))
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[16:48, 16:48] = False
    assert torch.equal(one[outside], other[outside]) and not torch.equal(one, other)


def test_what_is_larger_or_lower_is_nearer(depth: DepthSensor) -> None:
    nearest = [int(depth.render([alone("sun", size)]).max()) for size in ("small", "medium", "large")]
    assert nearest[0] + 20 < nearest[1] and nearest[1] + 20 < nearest[2]
    high, low = (int(depth.render([alone("sun", "small", y=y)]).max()) for y in (0.2, 0.8))
    assert high < low


def test_what_is_in_front_is_nearer_than_what_it_covers(depth: DepthSensor) -> None:
    stream = random.Random(2)
    for _ in range(20):
        scene = sample_scene(stream, "pair")
        while scene.relation != "in front of":
            scene = sample_scene(stream, "pair")
        behind, front = depth.levels(scene)
        assert front >= behind + 24


def test_ground_comes_nearer_line_by_line(depth: DepthSensor) -> None:
    far = depth.render([alone("bee", "small", x=0.9, y=0.15, backdrop="desert")])[0, 0, :, :32].float().mean(1)
    assert far[:20].max() < 12 < far[-1]
    assert (far[40:].diff() > -1).all() and far[-1] > far[40] + 30


def test_a_thing_is_as_warm_as_its_kind() -> None:
    assert temperature(thing("fire")) > 90 > temperature(thing("dog")) > 30
    assert temperature(thing("snowman")) < 0 > warmth("snow")
    assert level(COLDEST) == 0 and level(COLDEST + 10 * STEP) == 10 and level(1000) == 255 and level(-300) == 0
    maps = ThermalSensor().render([alone("fire"), alone("snowman")])
    assert maps[0].max() > 220 and maps[1].max() < 80


def test_no_two_things_look_alike(sensor: Sensor) -> None:
    """As large things on the same backdrop, every two maps differ by more than a byte in the mean over the thing."""
    maps = sensor.render([alone(item.name) for item in THINGS])[:, 0, 16:48, 16:48].float().flatten(1)
    apart = torch.cdist(maps, maps, p=1) / 1024
    apart.fill_diagonal_(float("inf"))
    assert apart.min() > 1, THINGS[int(apart.min(1).values.argmin())].name


def ride(motion: str) -> Film:
    return Director(random.Random(0), settled=True).one("cat", motion, "meadow")


def test_at_rest_only_gravity_is_felt() -> None:
    felt_at_rest = in_units(readings(ride(STILL)))
    assert felt_at_rest.shape == (6, SAMPLES)
    np.testing.assert_allclose(felt_at_rest.mean(1), [0, 9.81, 0, 0, 0, 0], atol=0.05)
    assert np.array_equal(readings(ride("grows"))[1] // 4096, readings(ride(STILL))[1] // 4096)
    assert np.array_equal(readings(ride("rises")), readings(ride("rises")))


def moved(film: Film) -> np.ndarray:
    """Where the sensor has gone by its accelerometer: metres, by summing twice."""
    pull = in_units(readings(film))[:3] - np.array([[0], [9.81], [0]])
    return (np.cumsum(np.cumsum(pull, 1), 1)[:, -1]) / RATE**2


@pytest.mark.parametrize("motion", LEADING)
def test_summed_up_a_ride_is_its_way(motion: str) -> None:
    film = ride(motion)
    actor = film.actors[0]
    across, up, near = moved(film)
    assert across == pytest.approx(4 * (actor.x2 - actor.x), abs=0.35)
    walks = motion in ("comes near", "goes away")
    assert up == pytest.approx(0 if walks else 4 * (actor.y - actor.y2), abs=0.35)
    assert near == pytest.approx({"comes near": 4, "goes away": -4}.get(motion, 0), abs=0.35)


def test_a_turn_is_felt_by_the_gyroscope_and_takes_gravity_round() -> None:
    spun = in_units(readings(ride("spins")))
    assert spun[5].sum() / RATE == pytest.approx(-2 * np.pi, abs=0.1)  # clockwise, seen from the camera
    assert spun[0].min() < -8 and spun[0].max() > 8 and abs(spun[3:5]).max() < 0.3


def test_rides_are_of_their_split_and_felt_ones_move() -> None:
    stream = random.Random(1)
    train, held = ([sample_ride(stream, split) for _ in range(60)] for split in ("train", "heldout"))
    assert not any(map(is_heldout, train)) and all(map(is_heldout, held))
    assert {felt(film) for film in train} <= {*FELT, STILL} and STILL in {felt(film) for film in train}
    for film in held:
        parsed = parse_film(told_ride(film))
        assert parsed is not None and parsed.actors == ((film.actors[0].thing, felt(film)),)
    with pytest.raises(ValueError, match="no split 'test'"):
        sample_ride(stream, "test")


def test_where_a_ride_ends() -> None:
    places = {motion: end_of(ride(motion)) for motion in LEADING}
    found = {
        motion: scene and (scene.things[0].size, place_of(scene.things[0].x, scene.things[0].y))
        for motion, scene in places.items()
    }
    assert found["crosses from left to right"] == ("medium", "right")
    assert found["crosses from right to left"] == ("medium", "left")
    assert found["rises"] == ("medium", "top") and found["falls"] == ("medium", "bottom")
    assert found["comes near"] == ("large", "bottom") and found["goes away"] == ("small", "top")


@pytest.mark.parametrize("sense", ["depth", "thermal", "imu"])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_chats_of_a_sense(sense: str, split: str) -> None:
    stream = random.Random(f"{sense}|{split}")
    for task in (task for task in tasks(("image", sense)) if task.startswith(sense)):
        for _ in range(8):
            chat = sample_chat(stream, task, split)
            given = [part for part in chat.messages[0]["content"] if part["type"] != "text"]
            assert [part["type"] for part in given] == [sense] and chat.task == task
            told = " ".join(part["text"] for part in chat.messages[1]["content"] if part["type"] == "text")
            if task.endswith("_draw"):
                assert caption(chat.facts["target"]) in told
                assert chat.messages[1]["content"][1]["scene"] == chat.facts["target"]
            else:
                assert answer_right(told, chat.facts)
            words = in_words(chat).messages[0]["content"]
            assert all(part["type"] == "text" for part in words)


def test_who_has_no_such_sense_has_the_tasks_of_before() -> None:
    assert tasks(("image", "audio", "video")) == (*TASKS, *FILM_TASKS)
    more = tasks(("image", "audio", "video", "depth", "thermal", "imu"))
    assert more[: len(TASKS) + len(FILM_TASKS)] == (*TASKS, *FILM_TASKS) and len(more) == len(set(more))
