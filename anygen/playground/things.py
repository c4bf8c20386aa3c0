"""The things of the playground: names, plurals, synonyms, categories and the sound that each makes."""

from dataclasses import dataclass

SIZES = {"small": 1 / 4, "medium": 3 / 8, "large": 1 / 2}
"""Side of a thing's sprite as a share of the canvas side."""

PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "middle",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
RELATIONS = ("left of", "right of", "above", "below", "in front of")
BACKDROPS = ("meadow", "night", "sunset", "desert", "sea", "snow", "room", "city", "forest", "space")


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One thing: its emoji, its canonical `name`, and what language says of it."""

    name: str
    emoji: str
    plural: str
    category: str
    synonyms: tuple[str, ...] = ()
    sound: str | None = None


# name | emoji | synonyms, comma separated | sound | plural where it is irregular
_TABLE = {
    "animal": """
        dog|🐕|puppy,hound|woof
        cat|🐈|kitty|meow
        horse|🐎|pony|neigh
        cow|🐄||moo
        pig|🐖|piglet|oink
        sheep|🐑|lamb|baa|sheep
        elephant|🐘||trumpet
        camel|🐪||
        monkey|🐒||ooh ooh
        rabbit|🐇|bunny,hare|
        chicken|🐔|hen|cluck
        duck|🦆||quack
        owl|🦉||hoot
        penguin|🐧||honk
        parrot|🦜||squawk
        flamingo|🦩||
        frog|🐸|toad|ribbit
        turtle|🐢|tortoise|
        snake|🐍|serpent|hiss
        dinosaur|🦕||roar
        whale|🐋||
        dolphin|🐬||click
        fish|🐠||blub|fish
        shark|🦈||
        octopus|🐙||blub blub|octopuses
        crab|🦀||click click
        snail|🐌||
        butterfly|🦋|||butterflies
        bee|🐝|honeybee|buzz
        ladybug|🐞|ladybird|
        fox|🦊|||foxes
        lion|🦁||roar
        tiger|🐅||growl
        bear|🐻||growl
        panda|🐼||
        koala|🐨||
        mouse|🐁||squeak|mice
        giraffe|🦒||
    """,
    "food": """
        apple|🍎||crunch
        pear|🍐||
        lemon|🍋||
        banana|🍌||
        watermelon|🍉|melon|
        grapes|🍇|||grapes
        strawberry|🍓|||strawberries
        cherry|🍒|||cherries
        pineapple|🍍||
        carrot|🥕||crunch
        corn|🌽|maize||corn
        mushroom|🍄|toadstool|
        bread|🍞|loaf||loaves of bread
        cheese|🧀|||pieces of cheese
        egg|🍳|fried egg|sizzle
        hamburger|🍔|burger|
        pizza|🍕|slice of pizza|
        hot dog|🌭||
        ice cream|🍦||
        doughnut|🍩|donut|
        cake|🎂|birthday cake|
        lollipop|🍭||
        coffee|☕|cup of coffee|slurp|cups of coffee
    """,
    "plant": """
        tree|🌳||rustle
        palm tree|🌴|palm|
        cactus|🌵|||cactuses
        sunflower|🌻||
        rose|🌹||
        tulip|🌷||
        christmas tree|🎄|fir tree|
    """,
    "vehicle": """
        car|🚗|automobile|vroom
        taxi|🚕|cab|honk honk
        bus|🚌|coach|honk|buses
        fire engine|🚒|fire truck|wail
        ambulance|🚑||wail
        truck|🚚|lorry|rumble
        tractor|🚜||chug
        train|🚂|steam train,locomotive|choo choo
        bicycle|🚲|bike|ring ring
        airplane|✈️|plane,aeroplane|whoosh
        helicopter|🚁|chopper|chop chop
        rocket|🚀|spaceship|whoosh
        flying saucer|🛸|ufo|hum
        sailboat|⛵|sailing boat|
        ship|🚢||toot
    """,
    "instrument": """
        guitar|🎸||twang
        piano|🎹|keyboard|plink
        trumpet|🎺||toot
        violin|🎻|fiddle|
        drum|🥁||boom
        saxophone|🎷|sax|
        bell|🔔||ding dong
    """,
    "object": """
        clock|⏰|alarm clock|tick tock
        umbrella|☂️||
        balloon|🎈||pop
        gift|🎁|present|
        book|📕||
        key|🔑||jingle
        lock|🔒|padlock|click
        hammer|🔨||bang
        scissors|✂️||snip|scissors
        camera|📷||click
        telephone|☎️|phone|ring
        television|📺|tv|
        light bulb|💡||
        candle|🕯️||
        crown|👑||
        hat|🎩|top hat|
        soccer ball|⚽|football|
        basketball|🏀||bounce
        teddy bear|🧸|teddy|
        robot|🤖||beep
    """,
    "place": """
        house|🏠|home|
        castle|🏰||
        tent|⛺||
        tower|🗼||
        ferris wheel|🎡|big wheel|
        fountain|⛲||splash
        volcano|🌋||rumble|volcanoes
    """,
    "sky": """
        sun|☀️||
        moon|🌙|crescent moon|
        star|⭐||
        cloud|☁️||
        rainbow|🌈||
        snowflake|❄️||
        fire|🔥|flame|crackle|fires
        planet|🪐||
        snowman|⛄|||snowmen
    """,
    "person": """
        ghost|👻||boo
        clown|🤡||
        baby|👶||waah|babies
    """,
}


def _read() -> tuple[Thing, ...]:
    things = []
    for category, rows in _TABLE.items():
        for row in rows.strip().splitlines():
            cells = [*row.strip().split("|"), "", "", ""]
            name, emoji, synonyms, sound, plural = cells[:5]
            things.append(
                Thing(
                    name=name,
                    emoji=emoji,
                    plural=plural or name + "s",
                    category=category,
                    synonyms=tuple(s for s in synonyms.split(",") if s),
                    sound=sound or None,
                )
            )
    return tuple(things)


THINGS = _read()
INDEX = {thing.name: index for index, thing in enumerate(THINGS)}


def thing(name: str) -> Thing:
    """The thing of this canonical name; KeyError names what is unknown."""
    if name not in INDEX:
        raise KeyError(f"no thing is called '{name}' in the playground")
    return THINGS[INDEX[name]]
