"""Films as tensors: their frames at any size, who is in them and how they move, and which cells they cover."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anygen.encoders.video import VideoTowerConfig
from anygen.playground.film import Film
from anygen.playground.motion import FRAMES, MOTIONS
from anygen.playground.projection import LAYERS, Projection
from anygen.playground.things import INDEX
from anygen.training.image_vae import to_pixels


def canvas_for(side: int) -> int:
    """The canvas from which `screened` makes films of `side` pixels."""
    return math.lcm(side, 64)  # films are drawn in 64ths


def screened(projection: Projection, layers: Tensor, grounds: Tensor, side: int) -> Tensor:
    """Films at `side` pixels, drawn so or larger and averaged: float [films, FRAMES, 3, side, side] in -1..1."""
    pixels = to_pixels(projection.draw(layers, grounds).flatten(0, 1))
    if projection.size != side:
        pixels = F.avg_pool2d(pixels, projection.size // side)
    return pixels.unflatten(0, (-1, FRAMES))


def evenly(count: int) -> list[int]:
    """So many frames of a film, from the middles of equal shares of its time, as `VideoEncoder.prepare` takes them."""
    return [(2 * i + 1) * FRAMES // (2 * count) for i in range(count)]


def things_of(films: list[Film]) -> Tensor:
    """Who the actors of films are: indices into THINGS, -1 for none: [films, LAYERS]."""
    things = torch.full((len(films), LAYERS), -1)
    for row, film in zip(things, films, strict=True):
        row[: len(film.actors)] = torch.tensor([INDEX[name] for name in film.things])
    return things


def moves_of(films: list[Film]) -> Tensor:
    """How they move: places in MOTIONS, as many for who stands still, -1 for none: [films, LAYERS]."""
    moves = torch.full((len(films), LAYERS), -1)
    for row, film in zip(moves, films, strict=True):
        for column, actor in enumerate(film.actors):
            row[column] = MOTIONS.index(actor.motion) if actor.motion in MOTIONS else len(MOTIONS)
    return moves


def film_cover(layers: Tensor, size: int, cells: int) -> Tensor:
    """Which of `cells` x `cells` cells have their centre under a sprite: bool [films, FRAMES, LAYERS, cells * cells].

    `layers` are those of `Projection.orders` on a canvas of `size` pixels; what is not there covers nothing, and what
    is turned covers its square.
    """
    centre = (torch.arange(cells, device=layers.device) + 0.5) * (size / cells)
    square, left, top = (part[..., None] for part in layers.unbind(-1)[1:])  # each [films, FRAMES, LAYERS, 1]
    across = (centre > left) & (centre < left + square)
    down = (centre > top) & (centre < top + square)
    return (down[..., :, None] & across[..., None, :]).flatten(3)


def tubelet_cover(layers: Tensor, size: int, config: VideoTowerConfig) -> Tensor:
    """How much of each actor lies in which feature: [films, LAYERS, tokens]."""
    cover = film_cover(layers, size, config.grid)[:, evenly(config.frames)].float()  # [films, frames, layers, cells]
    return cover.unflatten(1, (-1, config.tubelet)).mean(2).transpose(1, 2).flatten(2)
