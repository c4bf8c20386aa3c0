"""Writes docs/answers.png: what the bundled model answers to held-out requests, the first of each kind, unselected."""

import random
from pathlib import Path

import numpy as np

import anygen
from anygen.evaluation.sheet import sheet
from anygen.playground.compositor import Compositor
from anygen.playground.language import sample_chat


def main() -> None:
    engine = anygen.load()
    compositor = Compositor(64)
    stream = random.Random("answers")
    pictures, captions = [], []
    for task in ("draw", "caption", "vqa", "edit"):
        for _ in range(8):
            chat = sample_chat(stream, task, "heldout")
            parts = chat.messages[0]["content"]
            shown = [compositor.render([p["scene"]])[0].permute(1, 2, 0).numpy() for p in parts if p["type"] == "image"]
            words = " ".join(p["text"] for p in parts if p["type"] == "text")
            shown_parts = iter(shown)
            request = [p["text"] if p["type"] == "text" else anygen.Image(next(shown_parts)) for p in parts]
            reply = engine.generate(request, seed=0)
            drawn = [np.array(image.pixels) for image in reply.images]
            picture = (
                np.concatenate([*shown, *drawn], axis=1) if shown or drawn else np.full((64, 64, 3), 255, np.uint8)
            )
            if picture.shape[1] > 64:  # what was shown and what was drawn, side by side in one square
                picture = np.pad(picture[:, :128], ((32, 32), (0, 0), (0, 0)), constant_values=255)
            pictures.append(picture)
            captions.append(f"{words} -> {reply.text}")
    path = Path(__file__).parent.parent / "docs" / "answers.png"
    sheet(pictures, captions, columns=8).save(path)
    print(path)


if __name__ == "__main__":
    main()
