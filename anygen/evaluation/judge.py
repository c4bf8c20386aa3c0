"""The judge: says what a picture shows, by matched filters against the atlas and none of the model's own parts."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anygen.error import RequestError
from anygen.playground.compositor import Compositor
from anygen.playground.concept import unmarked
from anygen.playground.scene import VARIANTS, Placed, Scene, place_of, relation_of
from anygen.playground.things import BACKDROPS, SIZES, THINGS

_GROUND = 16  # side of the canvas on which backdrops are compared
SLACK = 0.03  # a shift of so much of the canvas, two pixels of 64, is no mistake
_MOST = 4  # things that a scene can hold
_SOFT = torch.tensor([1.0, 2.0, 1.0]) / 4  # the blur through which pictures and sprites are compared


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeOptions:
    """Thresholds, tuned on training scenes (clean and degraded) only."""

    shortlist: int = 32  # sprites that are tried at full resolution
    explained: float = 0.6  # least share of the squared difference from the backdrop that a sprite must explain
    pale: float = 0.01  # mean squared difference below which that share rises, up to `faint`
    faint: float = 0.85  # what that share rises to for what hardly stands out
    sure: float = 0.93  # share from which on several things are taken out in one round, and faint ones believed
    error: float = 0.05  # largest mean squared error of a sprite, colours in 0..1
    contrast: float = 0.0015  # least mean squared difference from the backdrop, colours in 0..1
    blob: float = 0.75  # most that its error may be of what one plain colour in its place would leave
    visible: float = 0.25  # least share of a sprite that nothing in front of it covers
    outlier: float = 0.03  # squared colour difference at which a pixel is no longer backdrop
    backdrop: float = 0.65  # least share of the uncovered pixels that the backdrop explains
    quiet: float = 0.0003  # mean squared difference in a window below which nothing is left to be found
    on_top: float = 0.75  # least share for a thing found in front of others after them
    needed: float = 0.5  # share of its place that a thing must explain when all others are there
    cast: float = 0.12  # largest colour cast that is taken back, colours in 0..1


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A thing found: its name, its size's name, its centre as shares of the canvas, how well it fits (0..1)."""

    thing: str
    size: str
    x: float
    y: float
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a picture shows: things, of which the first stand in front, and the backdrop (None when it is like none)."""

    things: tuple[Seen, ...]
    backdrop: str | None
    backdrop_score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    filter: int
    top: int
    left: int
    share: float


def soften(x: Tensor) -> Tensor:
    """Binomial blur of [n, channels, height, width] that keeps the edges' values."""
    channels = x.shape[1]
    x = F.conv2d(
        F.pad(x, (1, 1, 0, 0), mode="replicate"), _SOFT.view(1, 1, 1, 3).repeat(channels, 1, 1, 1), groups=channels
    )
    return F.conv2d(
        F.pad(x, (0, 0, 1, 1), mode="replicate"), _SOFT.view(1, 1, 3, 1).repeat(channels, 1, 1, 1), groups=channels
    )


def wrap(planes: Tensor) -> Tensor:
    """[..., size + 2, size + 2] with the origin at (1, 1) to a torus of `size` pixels with the origin at (0, 0)."""
    core = planes[..., 1:-1, 1:-1].clone()
    core[..., -1, :] += planes[..., 0, 1:-1]
    core[..., :, -1] += planes[..., 1:-1, 0]
    core[..., -1, -1] += planes[..., 0, 0]
    return core


def spectra(sprites: Tensor) -> Tensor:
    """Spectra of what a sprite is correlated with: [filters, 4, size, size] to complex [filters, 10, frequencies]."""
    colour, alpha = sprites[:, :3], sprites[:, 3:]
    square = colour.square().sum(1, keepdim=True)
    planes = torch.cat([colour, alpha, square, colour * alpha, alpha**2, (alpha > 0.1).float()], 1)
    return torch.fft.rfft2(planes).conj().resolve_conj().flatten(2)


def _legal(size: int, sides: Tensor) -> Tensor:
    """Where a sprite of each side may begin: bool [filters, size, size]."""
    fits = torch.arange(size)[None] <= size - sides[:, None]
    return fits[:, :, None] & fits[:, None, :]


def queries(x: Tensor, canvas: Tensor, free: Tensor) -> Tensor:
    """Spectra of what the sprites are correlated with: complex [n, 10, frequencies]; the first nine give the gain."""
    change = free * (x - canvas)
    total = lambda t: t.sum(1, keepdim=True)  # noqa: E731
    planes = [2 * change, -2 * total(change * canvas), -free, 2 * free * canvas, -free * total(canvas * canvas)]
    return torch.fft.rfft2(torch.cat([*planes, total(change * (x - canvas))], 1)).flatten(2)


def _score(gain: Tensor, against: Tensor, legal: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Products of spectra to maps [..., size, size]: the score of a place, and the share of error that goes away."""
    both = torch.fft.irfft2(torch.stack([gain, against]).unflatten(-1, (size, size // 2 + 1)), s=(size, size))
    share = (both[0] / both[1].clamp_min(1e-3)).clamp_(0, 1)
    return both[0].mul_(share**4).mul_(legal), share


def _variation(x: Tensor, weight: Tensor) -> float:
    """The squared error that the best plain colour leaves in [3, height, width] where weight [height, width] is."""
    mean = (weight * x).sum((1, 2), keepdim=True) / weight.sum()
    return float((weight * (x - mean).square()).sum())


class Judge:
    """Finds up to four things and the backdrop in pictures of the playground.

    Analysis by synthesis: the backdrop is the variant that most pixels agree with; then, again and again, the sprite
    (any thing, size and place, all tried by FFT) that best explains how the picture differs from the backdrop is taken
    out, until none explains enough. The picture is I, the backdrop C, a sprite A (premultiplied) with alpha a, and w is
    what nothing found so far covers. Before: sum w (I - C)^2; after: sum w (I - A - (1 - a) C)^2, over the sprite.
    `extra` are more sprites to look for, as `Compositor` takes them; those of an own thing are seen as that thing.
    """

    def __init__(
        self, size: int = 64, *, options: JudgeOptions | None = None, extra: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.size, self.options = size, options or JudgeOptions()
        compositor = Compositor(size, extra=extra)
        bank = [compositor.backdrop(name, variant) for name in BACKDROPS for variant in range(VARIANTS)]
        self._ground = soften(torch.stack(bank).float() / 255)  # [backdrops * VARIANTS, 3, size, size]
        self._small_ground = F.adaptive_avg_pool2d(self._ground, _GROUND).flatten(2)
        names = [*(thing.name for thing in THINGS), *(extra or ())]
        self._kinds = [(thing, name, compositor.sides[name]) for name in SIZES for thing in names]
        sprites = []
        for thing, name, side in self._kinds:
            sprite = compositor.sprite(thing, name).float() / 255
            premultiplied = torch.cat([sprite[:3] * sprite[3:], sprite[3:]])
            sprites.append(F.pad(premultiplied, (1, size + 1 - side, 1, size + 1 - side)))
        soft = soften(torch.stack(sprites))  # the sprite stands one pixel in, so that its blurred edge is there too
        self._colour, self._alpha = soft[:, :3], soft[:, 3:]  # [filters, 3 and 1, size + 2, size + 2]
        self._inside = (self._alpha > 0.1).float()
        self._around = F.max_pool2d(self._inside, 3, 1, 1)
        sides = torch.tensor([side for _, _, side in self._kinds])
        wrapped = wrap(soft)
        self._fine, self._coarse = spectra(wrapped), spectra(F.avg_pool2d(wrapped, 2)).permute(2, 1, 0).contiguous()
        self._fine_legal, self._coarse_legal = _legal(size, sides), _legal(size // 2, sides // 2)

    @torch.no_grad()
    def look(self, images: Tensor) -> list[Verdict]:
        """What each picture shows. images: uint8 [n, 3, height, width] of any size."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise RequestError(
                f"the judge looks at uint8 [n, 3, height, width], not {images.dtype} {tuple(images.shape)}"
            )
        verdicts: list[Verdict] = []
        for chunk in images.split(8):
            x = chunk.float() / 255
            if x.shape[-2:] != (self.size, self.size):
                x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
            verdicts += self._look(soften(x))
        return verdicts

    def _look(self, x: Tensor) -> list[Verdict]:
        free = torch.ones(len(x), 1, self.size, self.size)
        ground, _ = self._backdrop(x, free)
        found = self._things(self._uncast(x, ground, free), ground, free)
        again, share = self._backdrop(x, free)
        moved = (again != ground).nonzero()[:, 0].tolist()
        if moved:
            rest = self._uncast(x[moved], again[moved], free[moved])
            for i, things in zip(moved, self._things(rest, again[moved], torch.ones_like(free[moved])), strict=True):
                found[i] = things
        verdicts = []
        for i, things in enumerate(found):
            name = BACKDROPS[int(again[i]) // VARIANTS] if share[i] >= self.options.backdrop else None
            seen = tuple(self._seen(item) for item in things)
            verdicts.append(Verdict(things=seen, backdrop=name, backdrop_score=round(float(share[i]), 4)))
        return verdicts

    def _backdrop(self, x: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the best variant and the share of the free pixels that it explains: [n], [n]."""
        small = F.adaptive_avg_pool2d(x, _GROUND).flatten(2)[:, None]
        weight = F.adaptive_avg_pool2d(free, _GROUND).flatten(1)[:, None]
        error = (small - self._small_ground).square().mean(2)  # [n, variants, pixels]
        cost = (error.clamp_max(self.options.outlier) * weight).sum(-1)
        best = cost.argmin(1)
        held = (error[torch.arange(len(x)), best] < self.options.outlier) * weight[:, 0]
        return best, held.sum(-1) / weight[:, 0].sum(-1).clamp_min(1e-6)

    def _uncast(self, x: Tensor, ground: Tensor, free: Tensor) -> Tensor:
        """The picture without its colour cast: the median difference from the backdrop where it is backdrop."""
        difference = x - self._ground[ground]
        backdrop = (difference.square().mean(1, keepdim=True) < self.options.outlier) & (free > 0.5)
        cast = difference.masked_fill(~backdrop, math.nan).flatten(2).nanmedian(-1).values.nan_to_num()
        return x - cast.clamp(-self.options.cast, self.options.cast)[..., None, None]

    def _things(self, x: Tensor, ground: Tensor, free: Tensor) -> list[list[_Found]]:
        """Greedy search, all pictures at once; what is found is taken out of `free`."""
        canvas = self._ground[ground]
        found: list[list[_Found]] = [[] for _ in x]
        active = list(range(len(x)))
        while active := [i for i in active if self._restless(free[i] * (x[i] - canvas[i]))]:
            picks = self._best(x[active], canvas[active], free[active], self.options.explained)
            for i, new in zip(active, picks, strict=True):
                for item in new[: _MOST - len(found[i])]:
                    found[i].append(item)
                    self._cover(free[i], item)
            active = [i for i, new in zip(active, picks, strict=True) if new and len(found[i]) < _MOST]
        self._revise(x, canvas, free, found)
        return found

    def _revise(self, x: Tensor, canvas: Tensor, free: Tensor, found: list[list[_Found]]) -> None:
        """Put what overlaps in its best order, look once more in front of it, and drop what the rest explains."""
        found[:] = [self._ordered(things, x[i], canvas[i]) for i, things in enumerate(found)]
        whole = torch.stack([self._compose(canvas[i], things) for i, things in enumerate(found)])
        unsure = [i for i, things in enumerate(found) if things and self._restless(x[i] - whole[i])]
        if unsure:
            picks = self._best(x[unsure], whole[unsure], torch.ones_like(free[unsure]), self.options.on_top)
            for i, new in zip(unsure, picks, strict=True):
                for item in new[:1]:
                    self._cover(free[i], item)
                    found[i] = self._ordered([item, *found[i]], x[i], canvas[i])
        for i, things in enumerate(found):
            if self._overlap(things):
                for item in sorted(things, key=lambda item: item.share):
                    if self._share(item, things, x[i], canvas[i]) < self.options.needed:
                        things.remove(item)
            del things[_MOST:]

    def _overlap(self, things: list[_Found]) -> bool:
        return any(self._touch(a, b) for a in things for b in things if a is not b)

    def _ordered(self, things: list[_Found], x: Tensor, canvas: Tensor) -> list[_Found]:
        """The things from front to back as the picture shows them."""
        if not self._overlap(things):
            return things
        return min(
            map(list, permutations(things)), key=lambda order: float((x - self._compose(canvas, order)).square().sum())
        )

    def _share(self, item: _Found, things: list[_Found], x: Tensor, canvas: Tensor) -> float:
        """How much of the error around an item goes away by adding it to the others; 0 when they hide or replace it."""
        without = (x - self._compose(canvas, [other for other in things if other is not item])).square().sum(0)
        drawn = (x - self._compose(canvas, things)).square().sum(0)
        free = torch.ones(1, self.size, self.size)
        for other in things[: things.index(item)]:
            self._cover(free, other)
        target, source = self._windows(item)
        inside = self._inside[(item.filter, 0, *source)]
        area = float((inside * free[0][target]).sum())
        before, after = float((inside * without[target]).sum()), float((inside * drawn[target]).sum())
        if area < self.options.visible * float(inside.sum()) or before - after < 3 * self.options.contrast * area:
            return 0.0
        return 1 - after / max(before, 1e-6)

    def _restless(self, difference: Tensor) -> bool:
        """Whether [3, size, size] differs from nothing by enough somewhere to hold a thing."""
        return float(F.avg_pool2d(difference.square().mean(0)[None], 12, 4).max()) > self.options.quiet

    def _compose(self, canvas: Tensor, things: list[_Found]) -> Tensor:
        """The things over the backdrop [3, size, size], the first in front."""
        canvas = canvas.clone()
        for item in reversed(things):
            target, source = self._windows(item)
            alpha, colour = (
                self._alpha[item.filter][(slice(None), *source)],
                self._colour[item.filter][(slice(None), *source)],
            )
            canvas[(slice(None), *target)] = colour + (1 - alpha) * canvas[(slice(None), *target)]
        return canvas

    def _windows(self, item: _Found) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where an item's blurred sprite stands on the canvas, and which part of the sprite's own plane that is."""
        side = self._kinds[item.filter][2]
        top, left = max(0, item.top - 1), max(0, item.left - 1)
        bottom, right = min(self.size, item.top + side + 1), min(self.size, item.left + side + 1)
        y, x = 1 - item.top, 1 - item.left
        return (slice(top, bottom), slice(left, right)), (slice(top + y, bottom + y), slice(left + x, right + x))

    def _best(self, x: Tensor, canvas: Tensor, free: Tensor, explained: float) -> list[list[_Found]]:
        """The best thing in each picture that is still to be found, and others that stand clear of it."""
        pooled = queries(*(F.avg_pool2d(t, 2) for t in (x, canvas, free))).permute(2, 0, 1)  # [frequencies, n, 10]
        gain = torch.bmm(pooled[..., :9], self._coarse[:, :9]).permute(1, 2, 0)
        against = torch.bmm(pooled[..., 9:], self._coarse[:, 9:]).permute(1, 2, 0)
        score, _ = _score(gain, against, self._coarse_legal, self.size // 2)
        filters = score.amax((-1, -2)).topk(self.options.shortlist, dim=1).indices
        found = queries(x, canvas, free)
        before = free[:, 0] * (x - canvas).square().sum(1)
        chosen = []
        for i, shortlist in enumerate(filters):
            product = self._fine[shortlist] * found[i]
            score, share = _score(product[:, :9].sum(1), product[:, 9], self._fine_legal[shortlist], self.size)
            order = score.amax((-1, -2)).argsort(descending=True)[:12]
            chosen.append(
                self._choose(
                    shortlist[order].tolist(), score[order], share[order], x[i], before[i], free[i, 0], explained
                )
            )
        return chosen

    def _choose(
        self,
        filters: list[int],
        score: Tensor,
        share: Tensor,
        x: Tensor,
        before: Tensor,
        free: Tensor,
        explained: float,
    ) -> list[_Found]:
        """Of the best filters and their maps [filters, size, size]: the best place, and plain ones clear of it."""
        chosen: list[_Found] = []
        for number, values, shares in zip(filters, score, share, strict=True):
            side = self._kinds[number][2]
            for _ in range(_MOST):
                top, left = divmod(int(values.argmax()), self.size)
                item = _Found(filter=number, top=top, left=left, share=float(shares[top, left]))
                if item.share < (self.options.sure if chosen else explained) or any(
                    self._touch(item, o) for o in chosen
                ):
                    break
                if not self._visible(item, x, before, free):
                    break
                chosen.append(item)
                values[max(0, top - side + 1) : top + side, max(0, left - side + 1) : left + side] = 0
        return chosen

    def _visible(self, item: _Found, x: Tensor, before: Tensor, free: Tensor) -> bool:
        """Whether enough of it is to be seen, stands out from what is behind, and is drawn well enough."""
        options = self.options
        target, source = self._windows(item)
        inside = self._inside[(item.filter, 0, *source)]
        seen = inside * free[target]
        area, whole = float(seen.sum()), float(inside.sum())
        if area < options.visible * whole:
            return False
        contrast = float((inside * before[target]).sum()) / (3 * area)
        least = options.explained + (options.faint - options.explained) * max(0.0, 1 - contrast / options.pale)
        missed = 3 * area * contrast * (1 - item.share)
        stands_out = contrast >= options.contrast * (0.3 if item.share > options.sure else 1.0)
        if not stands_out or item.share < least or missed > 3 * area * options.error:
            return False
        place, rim = x[(slice(None), *target)], self._around[(item.filter, 0, *source)] * free[target] - seen
        around = missed + float((rim * before[target]).sum())
        return missed <= options.blob * _variation(place, seen) or around <= options.blob * _variation(
            place, seen + rim
        )

    def _touch(self, a: _Found, b: _Found) -> bool:
        """Whether the two squares overlap."""
        one, two = self._kinds[a.filter][2], self._kinds[b.filter][2]
        return a.top < b.top + two and b.top < a.top + one and a.left < b.left + two and b.left < a.left + one

    def _cover(self, free: Tensor, item: _Found) -> None:
        """Take a found thing's pixels, and a rim of one more, out of [1, size, size]."""
        target, source = self._windows(item)
        covered = torch.zeros_like(free)
        covered[(slice(None), *target)] = (self._alpha[item.filter][(slice(None), *source)] >= 0.05).float()
        free *= 1 - F.max_pool2d(covered[None], 3, 1, 1)[0]

    def _seen(self, item: _Found) -> Seen:
        thing, size, side = self._kinds[item.filter]
        x, y = (item.left + side / 2) / self.size, (item.top + side / 2) / self.size
        return Seen(thing=unmarked(thing), size=size, x=x, y=y, score=round(item.share, 4))


def shows(verdict: Verdict, scene: Scene) -> dict[str, bool]:
    """Which facts of the scene the picture shows; a fact that the scene does not state counts as right."""
    wanted, seen = Counter(p.thing for p in scene.things), Counter(s.thing for s in verdict.things)
    first = scene.things[0]
    asked = [item for item in verdict.things if item.thing == first.thing]
    facts = {
        "things_right": set(wanted) == set(seen),
        "count_right": wanted == seen,
        "relation_right": _related(verdict, scene),
        "backdrop_right": verdict.backdrop == scene.backdrop,
        "size_right": scene.kind != "one" or any(item.size == first.size for item in asked),
        "place_right": scene.kind != "one" or any(_in_place(item, first) for item in asked),
    }
    return {**facts, "all": all(facts.values())}


def _in_place(seen: Seen, placed: Placed, slack: float = SLACK) -> bool:
    """In the ninth that was asked for, or less than `slack` outside it: a shift of a pixel or two is no mistake."""
    shifts = (-slack, 0.0, slack)
    clamp = lambda v: min(max(v, 0.0), 0.999)  # noqa: E731
    wanted = place_of(placed.x, placed.y)
    return any(place_of(clamp(seen.x + dx), clamp(seen.y + dy)) == wanted for dx in shifts for dy in shifts)


def _related(verdict: Verdict, scene: Scene) -> bool:
    """A pair stands in its relation; three things go from left to right."""
    if scene.kind == "three":
        middles = [[seen.x for seen in verdict.things if seen.thing == placed.thing] for placed in scene.things]
        left, middle, right = (xs[0] if len(xs) == 1 else math.nan for xs in middles)
        return left < middle + SLACK and middle < right + SLACK
    if scene.relation is None:
        return True
    a, b = (placed.thing for placed in scene.things)
    pairs = ((one, other) for one in verdict.things for other in verdict.things if (one.thing, other.thing) == (a, b))
    return any(_relation(one, other, scene.relation) for one, other in pairs)


def _relation(one: Seen, other: Seen, relation: str, slack: float = SLACK) -> bool:
    """Whether the relation holds, or would after a shift of a pixel or two."""
    shifts = (0.0, -slack, slack)
    b = Placed(thing=other.thing, size=other.size, x=other.x, y=other.y)
    shifted = (Placed(thing=one.thing, size=one.size, x=one.x + dx, y=one.y + dy) for dx in shifts for dy in shifts)
    return any(relation_of(a, b) == relation for a in shifted)
