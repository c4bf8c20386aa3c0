"""The watcher: says what a film shows, by matched filters against the atlas and none of the model's own parts."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anygen.error import RequestError
from anygen.evaluation.judge import queries, soften, spectra, wrap
from anygen.evaluation.track import HALVES, WHOLE, Fit, Slot, Track, explain
from anygen.playground.film import CAMERAS, Film, can_get_dark
from anygen.playground.motion import ANGLES, FRAMES, PAN, STILL, zoom_at
from anygen.playground.projection import Projection
from anygen.playground.scene import VARIANTS
from anygen.playground.things import BACKDROPS, SIZES, THINGS

_GROUND = 16  # side of the canvas on which backdrops are compared
_KEYS = (0, 5, 10, 15)  # frames in which backdrops are compared
_EDGE = 8  # pixels around the canvas, into which a thing may reach
_SIDES = tuple(range(8, 50, 2))  # sides that a thing may have, in pixels
_COARSE = (10, 12, 16, 20, 24, 32, 40)  # those that are tried for every thing
_LOOKED = (0, 4, 8, 12, 15)  # frames in which every thing is looked for
_VIEWS = (None, *CAMERAS)


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """Thresholds, tuned on training films (clean and spoilt) only."""

    outlier: float = 0.03  # squared colour difference at which a pixel is no longer backdrop
    backdrop: float = 0.65  # least share of the pixels that the backdrop explains
    shortlist: int = 8  # backdrops, cameras and lights that are compared at full size
    candidates: int = 4  # things that are followed through the film
    explained: float = 0.6  # least share of the squared difference that a thing must explain in a frame
    pale: float = 0.01  # mean squared difference below which that share must rise, up to `faint`, to be believed
    faint: float = 0.85  # what that share rises to for what hardly stands out
    contrast: float = 0.0015  # least mean squared difference from the backdrop, colours in 0..1
    frames: int = 4  # in which a thing must be believed
    cast: float = 0.12  # largest colour cast that is taken back, colours in 0..1
    turned: float = 0.02  # share more that a turning thing must explain in a frame to count as one pixel's shift
    consistent: int = 15  # frames in which what should be seen must be seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Acted:
    """A thing in a film: its name, its motion, and its size where it is first seen.

    `began` is the frame in which its motion begins, `seen` the number of frames in which it is there, `score` how well
    it fits in these (0..1).
    """

    thing: str
    motion: str
    size: str
    began: int
    seen: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What a film shows: its kind (None where it is like none), things in the order in which they move, and where.

    `consistent` counts the frames in which everything is seen that should be, and nothing that should not.
    """

    kind: str | None
    actors: tuple[Acted, ...]
    backdrop: str | None
    camera: str | None
    dusk: bool
    consistent: int


@dataclass(kw_only=True, slots=True)
class _Turned:
    """One thing at one side and all angles: the side in pixels, that of its square, and for each frame and angle the
    best place on the padded canvas and the error that goes away there, [FRAMES, ANGLES - 1]."""

    side: int
    square: int
    where: Tensor
    gain: Tensor


@dataclass(kw_only=True, slots=True)
class _Sight:
    """One thing in all frames, in pixels of the padded canvas: float and bool [FRAMES], filter index of each frame."""

    thing: int
    left: Tensor
    top: Tensor
    side: Tensor
    share: Tensor
    gain: Tensor
    against: Tensor
    shape: Tensor  # [FRAMES], index into the sprites
    sprites: Tensor  # [shapes, 4, size, size], premultiplied
    upright: "_Sight | None" = None
    about: _Turned | None = None

    @property
    def score(self) -> Tensor:
        return self.gain * self.share**4


class Watcher:
    """Finds one or two things, their motion, the backdrop, camera and light in films of the playground.

    Analysis by synthesis: backdrop, camera and light are those with which most pixels of all frames agree; then the
    thing that best explains how the frames differ from that, at any place and side, is followed through the film and
    taken out, and so is a second one. Of each the motion is the one whose course fits its places best (`track.py`).
    """

    def __init__(self, size: int = 64, *, options: WatchOptions | None = None) -> None:
        self.size, self.options = size, options or WatchOptions()
        self.projection = Projection(size)
        dark = self.projection.shade.float() / 256  # [FRAMES, 3]
        self._light = torch.stack([torch.ones_like(dark), dark])[..., None, None]  # [2, FRAMES, 3, 1, 1]
        films = [(name, variant) for name in BACKDROPS for variant in range(VARIANTS)]
        small = []
        for camera in _VIEWS:
            bare = self._bare([(*film, camera) for film in films])[:, list(_KEYS)].float() / 255
            small.append(F.adaptive_avg_pool2d(soften(bare.flatten(0, 1)), _GROUND).unflatten(0, (len(films), -1)))
        self._small = torch.stack(small).flatten(-2)  # [views, backdrops, keys, 3, pixels]
        self._width = size + 2 * _EDGE
        kinds = [(thing, side) for side in _COARSE for thing in range(len(THINGS))]
        sprites = torch.cat([self._padded(self.projection.sprites(side)) for side in _COARSE])
        pooled = F.avg_pool2d(wrap(sprites), 2)
        self._coarse = spectra(pooled).permute(2, 1, 0).contiguous()  # [frequencies, 10, filters]
        self._coarse_things = torch.tensor([thing for thing, _ in kinds])
        self._coarse_legal = _legal(self._width // 2, torch.tensor([side // 2 for _, side in kinds]))

    def _bare(self, films: list[tuple[str, int, str | None]]) -> Tensor:
        """Backdrops with nothing before them: uint8 [films, FRAMES, 3, size, size]."""
        empty = [Film(kind="one", actors=(), backdrop=b, variant=v, camera=c) for b, v, c in films]
        return self.projection.render(empty)

    def _padded(self, sprites: Tensor) -> Tensor:
        """Straight uint8 [n, 4, side, side] to premultiplied, blurred [n, 4, width + 2, width + 2], one pixel in."""
        x = sprites.float() / 255
        x = torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1)
        rest = self._width + 1 - x.shape[-1]
        return soften(F.pad(x, (1, rest, 1, rest)))

    @lru_cache(maxsize=24)  # noqa: B019 - a watcher lives as long as its evaluation
    def _filters(self, thing: int, turned: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sprites of a thing at all sides, or if `turned` of this side at all angles; their spectra, and squares."""
        shapes = [(turned, angle) for angle in range(1, ANGLES)] if turned else [(side, 0) for side in _SIDES]
        squares = [self.projection.sprites(*shape, slice(thing, thing + 1)) for shape in shapes]
        sprites = torch.cat([self._padded(square) for square in squares])
        sides = torch.tensor([square.shape[-1] for square in squares])
        whole = wrap(sprites)
        return whole, spectra(whole).permute(2, 1, 0).contiguous(), sides

    @torch.no_grad()
    def watch(self, films: Tensor) -> list[Watched]:
        """What each film shows. films: uint8 [n, frames, 3, height, width] of any size; frames are sampled by time."""
        if films.dtype != torch.uint8 or films.ndim != 5 or films.shape[2] != 3 or not films.shape[1]:
            raise RequestError(
                f"the watcher looks at uint8 [n, frames, 3, height, width], not {films.dtype} {tuple(films.shape)}"
            )
        watched = []
        when = ((torch.arange(FRAMES) + 0.5) * films.shape[1] / FRAMES).long()
        for film in films:
            x = film[when].float() / 255
            if x.shape[-2:] != (self.size, self.size):
                x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
            watched.append(self._watch(soften(x)))
        return watched

    def _watch(self, x: Tensor) -> Watched:
        view, ground, dusk, share, canvas = self._backdrop(x)
        y = x / self._light[dusk]
        y = y - self._cast(y, canvas)
        pad = (_EDGE,) * 4
        y, canvas = F.pad(y, pad), F.pad(canvas, pad)
        free = F.pad(torch.ones(FRAMES, 1, self.size, self.size), pad)
        sights = self._find(y, canvas, free)
        tracks = [self._track(sight, view) for sight in sights]
        backdrop = BACKDROPS[ground // VARIANTS] if share >= self.options.backdrop else None
        if not sights:
            return Watched(kind=None, actors=(), backdrop=backdrop, camera=view, dusk=dusk > 0, consistent=0)
        explained, fits = explain(tracks)
        kind = None if math.inf in (fit.cost for fit in fits) else explained
        right = np.ones(FRAMES, bool)
        for fit, track in zip(fits, tracks, strict=True):
            right &= fit.there == track.seen
        actors = [self._acted(*each) for each in zip(sights, tracks, fits, strict=True)]
        actors.sort(key=lambda acted: (acted.motion == STILL, acted.began))
        return Watched(
            kind=kind, actors=tuple(actors), backdrop=backdrop, camera=view, dusk=dusk > 0, consistent=int(right.sum())
        )

    # --- what is behind

    def _backdrop(self, x: Tensor) -> tuple[str | None, int, int, float, Tensor]:
        """Camera, index of the backdrop, whether it gets dark, the share of pixels explained, and [FRAMES, 3, ...]."""
        costs = []
        for light in self._light:
            small = F.adaptive_avg_pool2d((x / light)[list(_KEYS)], _GROUND).flatten(-2)
            error = (small - self._small).square().mean(3)  # [views, backdrops, keys, pixels]
            costs.append(error.clamp_max_(self.options.outlier).mean((2, 3)))
        cost = torch.stack(costs)  # [lights, views, backdrops]
        able = torch.tensor([can_get_dark(name) for name in BACKDROPS]).repeat_interleave(VARIANTS)
        cost[1, :, ~able] = math.inf
        picks = cost.flatten().topk(self.options.shortlist, largest=False).indices
        best: tuple[float, str | None, int, int, float, Tensor] | None = None
        for dusk, view, ground in zip(*map(Tensor.tolist, torch.unravel_index(picks, cost.shape)), strict=True):
            film = (BACKDROPS[ground // VARIANTS], ground % VARIANTS, _VIEWS[view])
            canvas = soften(self._bare([film])[0].float() / 255)
            # compared in the light of the film: what is made brighter again makes noise stronger
            error = (x - canvas * self._light[dusk]).square().mean(1)
            held = error < self.options.outlier
            total = float(error.clamp_max(self.options.outlier).mean())
            if best is None or total < best[0]:
                best = total, _VIEWS[view], ground, dusk, float(held.float().mean()), canvas
        assert best
        return best[1:]

    def _cast(self, y: Tensor, canvas: Tensor) -> Tensor:
        """The film's colour cast: the median difference from the backdrop where it is backdrop, [3, 1, 1]."""
        difference = y - canvas
        held = difference.square().mean(1, keepdim=True) < self.options.outlier
        if not held.any():
            return torch.zeros(3, 1, 1)
        cast = difference.masked_fill(~held, math.nan).transpose(0, 1).flatten(1).nanmedian(1).values
        return cast.clamp(-self.options.cast, self.options.cast)[:, None, None]

    # --- what is before it

    def _find(self, y: Tensor, canvas: Tensor, free: Tensor) -> list[_Sight]:
        """One or two things, each followed through the film with the other one taken out."""
        first = self._most(y, canvas, free)
        if first is None:
            return []
        second = self._most(y, canvas, self._without(free, first), first.thing)
        if second is None:
            return [first]
        second = self._follow(second.thing, y, canvas, free)
        # where both explain the same place, the better one has it, and the other one is looked for elsewhere
        clash, later = self._clash(first, second), second.score > first.score
        first, second = (
            self._follow(one.thing, y, canvas, self._without(free, other, ~clash | wins))
            for one, other, wins in ((first, second, later), (second, first, ~later))
        )
        found = [sight for sight in (first, second) if self._believed(sight)]
        return found if len(found) == 2 else [self._follow(sight.thing, y, canvas, free) for sight in found]

    def _most(self, y: Tensor, canvas: Tensor, free: Tensor, but: int = -1) -> _Sight | None:
        """The thing that explains most of all frames, or None where none explains enough."""
        some = [t[list(_LOOKED)] for t in (y, canvas, free)]
        gain, against = _products(queries(*(F.avg_pool2d(t, 2) for t in some)), self._coarse)
        score = _maps(gain, against, self._coarse_legal, self._width // 2)[0].amax((-1, -2))  # [frames, filters]
        by_thing = torch.zeros(len(score), len(THINGS)).scatter_reduce_(
            1, self._coarse_things.expand(len(score), -1), score, "amax", include_self=True
        )
        total = by_thing.sum(0)
        if but >= 0:
            total[but] = 0
        things = total.topk(self.options.candidates).indices.tolist()
        best = max(things, key=lambda thing: float(self._upright(thing, *some).score.sum()))
        sight = self._follow(best, y, canvas, free)
        return sight if self._believed(sight) else None

    def _follow(self, thing: int, y: Tensor, canvas: Tensor, free: Tensor) -> _Sight:
        """Where this thing explains most in each frame, upright at any side, or turned at the side that it has."""
        sight = self._upright(thing, y, canvas, free)
        sure = sight.share.topk(3).indices
        middle = float(sight.side[sure].float().median())
        side = min((round(share * self.size) for share in SIZES.values()), key=lambda s: abs(s - middle))
        if abs(side - middle) > 4:
            return sight
        sprites, found, sides = self._filters(thing, side)
        score, share, gain, against = _maps(
            *_products(queries(y, canvas, free), found), _legal(self._width, sides), self._width
        )
        best = score.flatten(2).max(2)
        at = lambda t: t.flatten(2).gather(2, best.indices[..., None])[..., 0]  # noqa: E731
        about = _Turned(side=side, square=int(sides[0]), where=best.indices, gain=at(gain))
        angle = best.values.argmax(1)
        rows = torch.arange(FRAMES)
        better = best.values[rows, angle] > (1 + self.options.turned) * sight.score

        def chosen(turned: Tensor, upright: Tensor) -> Tensor:
            return torch.where(better, turned[rows, angle].to(upright.dtype), upright)

        return _Sight(
            thing=thing,
            left=chosen(best.indices % self._width, sight.left),
            top=chosen(best.indices // self._width, sight.top),
            side=sight.side,
            share=chosen(at(share), sight.share),
            gain=chosen(at(gain), sight.gain),
            against=chosen(at(against), sight.against),
            shape=torch.where(better, angle + len(_SIDES), sight.shape),
            sprites=torch.cat([sight.sprites, sprites]),
            upright=sight,
            about=about,
        )

    def _upright(self, thing: int, y: Tensor, canvas: Tensor, free: Tensor) -> _Sight:
        """Where this thing, upright at any side, explains most in each frame."""
        sprites, found, sides = self._filters(thing, 0)
        score, *rest = _maps(*_products(queries(y, canvas, free), found), _legal(self._width, sides), self._width)
        best = score.flatten(2).max(2)  # [frames, sides]
        shape = best.values.argmax(1)
        rows = torch.arange(len(y))
        where = best.indices[rows, shape]
        share, gain, against = (t.flatten(2)[rows, shape, where] for t in rest)
        return _Sight(
            thing=thing,
            left=where % self._width,
            top=where // self._width,
            side=sides[shape],
            share=share,
            gain=gain,
            against=against,
            shape=shape,
            sprites=sprites,
        )

    def _seen(self, sight: _Sight) -> Tensor:
        """In which frames the thing explains enough of what is there, and stands out: bool [FRAMES]."""
        return (sight.share >= self.options.explained) & (self._contrast(sight) >= self.options.contrast)

    def _contrast(self, sight: _Sight) -> Tensor:
        """How much a thing's place differs from the backdrop, mean squared: [FRAMES]."""
        inside = (sight.sprites[sight.shape, 3] > 0.1).float().sum((1, 2))
        return sight.against / (3 * inside)

    def _believed(self, sight: _Sight) -> bool:
        """Whether the thing is there at all: seen in enough frames, and the better there the less it stands out."""
        options = self.options
        least = options.explained + (options.faint - options.explained) * (
            1 - self._contrast(sight) / options.pale
        ).clamp_min(0)
        return int((self._seen(sight) & (sight.share >= least)).sum()) >= options.frames

    def _clash(self, one: _Sight, other: _Sight) -> Tensor:
        """In which frames two things are found at about the same place: bool [FRAMES]."""
        across = (one.left + one.side / 2 - other.left - other.side / 2).abs()
        down = (one.top + one.side / 2 - other.top - other.side / 2).abs()
        return torch.maximum(across, down) < torch.maximum(one.side, other.side) / 2

    def _without(self, free: Tensor, sight: _Sight, frames: Tensor | None = None) -> Tensor:
        """The free pixels without those of a thing in these frames (all if None), and a rim of one more."""
        covered = torch.zeros_like(free)
        seen = self._seen(sight) if frames is None else self._seen(sight) & frames
        for frame in seen.nonzero()[:, 0].tolist():
            alpha = sight.sprites[sight.shape[frame], 3]
            covered[frame, 0] = alpha.roll((int(sight.top[frame]), int(sight.left[frame])), (0, 1)) >= 0.05
        return free * (1 - F.max_pool2d(covered, 3, 1, 1))

    # --- what it does

    def _track(self, sight: _Sight, view: str | None) -> Track:
        """Where the thing is as if the camera stood still, and how much better it is explained if it turns."""
        seen = self._seen(sight).numpy()
        upright, about = sight.upright or sight, sight.about
        at = torch.stack([upright.left + upright.side / 2, upright.top + upright.side / 2, upright.side.float()], 1)
        turned: dict[Slot, float] = {}
        turned_at: dict[Slot, np.ndarray] = {}
        for slot in (WHOLE, *HALVES) if about else ():
            now, gain = at.clone(), 0.0
            for frame in range(*slot):
                assert about is not None
                angle = int(ANGLES * (frame - slot[0]) / (slot[1] - slot[0] - 1) + 0.5) % ANGLES
                if not angle:
                    continue
                near = [a - 1 for a in (angle - 1, angle, angle + 1) if 0 < a < ANGLES]
                index = max(near, key=lambda a: float(about.gain[frame, a]))
                scale = self.options.turned * float(upright.against[frame].clamp_min(1e-3))
                better = float(about.gain[frame, index] - upright.gain[frame]) / scale
                gain += min(max(better, -4.0), 4.0)
                top, left = divmod(int(about.where[frame, index]), self._width)
                now[frame] = torch.tensor([left + about.square / 2, top + about.square / 2, about.side])
            turned[slot], turned_at[slot] = gain, self._world(now, view)
        place = self._world(at, view)
        return Track(x=place[:, 0], y=place[:, 1], side=place[:, 2], seen=seen, turned=turned, turned_at=turned_at)

    def _world(self, at: Tensor, view: str | None) -> np.ndarray:
        """Centres and sides in pixels of the padded canvas to shares of it, as if the camera stood still."""
        place = at.double().numpy().copy()
        place[:, :2] -= _EDGE
        place /= self.size
        frames = np.arange(FRAMES)
        if view and view.startswith("pans"):
            place[:, 0] += PAN * frames / (FRAMES - 1) * (1 if view == "pans right" else -1)
        elif view:
            zoom = np.array([zoom_at(int(f) if view == "zooms in" else FRAMES - 1 - int(f)) for f in frames])
            place[:, :2] = 0.5 + (place[:, :2] - 0.5) / zoom[:, None]
            place[:, 2] /= zoom
        return place

    def _acted(self, sight: _Sight, track: Track, fit: Fit) -> Acted:
        seen = track.seen
        first = int(np.argmax(seen))
        size = min(SIZES, key=lambda name: abs(SIZES[name] - track.side[first]))
        score = float(sight.share[torch.from_numpy(seen)].mean()) if seen.any() else 0.0
        return Acted(
            thing=THINGS[sight.thing].name,
            motion=fit.motion,
            size=size,
            began=fit.slot[0],
            seen=int(seen.sum()),
            score=round(score, 4),
        )


def _products(found: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """Spectra of frames [frames, 10, frequencies] and filters to those of gain and error [frames, filters, ...]."""
    found = found.permute(2, 0, 1)
    gain = torch.bmm(found[..., :9], made[:, :9])
    return gain.permute(1, 2, 0), torch.bmm(found[..., 9:], made[:, 9:]).permute(1, 2, 0)


def _legal(size: int, sides: Tensor) -> Tensor:
    """Where a sprite of each side may begin: bool [filters, size, size]."""
    fits = torch.arange(size)[None] <= size - sides[:, None]
    return fits[:, :, None] & fits[:, None, :]


def _maps(gain: Tensor, against: Tensor, legal: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Products of spectra to maps [..., size, size]: score of a place, share of the error that goes, gain, error."""
    both = torch.fft.irfft2(torch.stack([gain, against]).unflatten(-1, (size, size // 2 + 1)), s=(size, size))
    share = (both[0] / both[1].clamp_min(1e-3)).clamp_(0, 1)
    return both[0] * share**4 * legal, share, both[0], both[1]


def shows_film(watched: Watched, film: Film) -> dict[str, bool]:
    """Which facts of the film are seen."""
    wanted = [(actor.thing, actor.motion) for actor in film.actors]
    acted = [(actor.thing, actor.motion) for actor in watched.actors]
    same = sorted(wanted) == sorted(acted) if film.kind != "then" else wanted == acted
    facts = {
        "things_right": Counter(film.things) == Counter(actor.thing for actor in watched.actors),
        "motion_right": watched.kind == film.kind and same,
        "backdrop_right": watched.backdrop == film.backdrop,
        "camera_right": (watched.camera, watched.dusk) == (film.camera, film.dusk),
        "consistent": watched.consistent >= WatchOptions().consistent,
    }
    return {**facts, "all": all(facts.values())}
