"""The judge: says what a picture shows by matched filters against the atlas; no training, none of the model's own parts."""

import math
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anygen.error import RequestError
from anygen.playground.compositor import Compositor
from anygen.playground.scene import VARIANTS, Placed, Scene, place_of, relation_of
from anygen.playground.things import BACKDROPS, SIZES, THINGS

_COARSE = 32  # side of the canvas on which every sprite is tried everywhere
_GROUND = 16  # side of the canvas on which backdrops are compared
_MOST = 4  # things that a scene can hold


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeOptions:
    """Thresholds, tuned on training scenes (clean and degraded) only."""

    shortlist: int = 16  # sprites that are tried again at full resolution
    strictness: float = 2.0  # how much an unexplained squared error weighs against an explained one
    explained: float = 0.55  # least share of the squared error against the backdrop that a sprite must explain
    error: float = 0.03  # largest mean squared error of a sprite, colours in 0..1
    contrast: float = 0.0008  # least mean squared difference from the backdrop, colours in 0..1
    visible: float = 0.25  # least share of a sprite that nothing in front of it covers
    outlier: float = 0.03  # squared colour difference at which a pixel is no longer backdrop
    backdrop: float = 0.5  # least share of the uncovered pixels that the backdrop explains


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A thing that the judge found: its name, its size's name, its centre as shares of the canvas, and how well it fits (0..1)."""

    thing: str
    size: str
    x: float
    y: float
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a picture shows: things from front to back as they were found, and the backdrop (None when it is like none)."""

    things: tuple[Seen, ...]
    backdrop: str | None
    backdrop_score: float


class _Bank:
    """The sprites of one size: `colour` premultiplied [things, 3, side, side], `alpha` [things, 1, side, side], 0..1."""

    def __init__(self, name: str, compositor: Compositor) -> None:
        self.name, self.side = name, compositor.sides[name]
        sprites = torch.stack([compositor.sprite(thing.name, name) for thing in THINGS]).float() / 255
        self.alpha = sprites[:, 3:]
        self.colour = sprites[:, :3] * self.alpha
        self.straight = sprites[:, :3]


class Judge:
    """Finds up to four things and the backdrop in pictures of the playground.

    Analysis by synthesis: the backdrop is the variant that most pixels agree with; then, again and again, the sprite
    that best explains what the backdrop does not (all sprites, sizes and positions by FFT on a coarse canvas, the best
    few at full resolution) is taken out, until none explains enough.
    """

    def __init__(self, size: int = 64, *, options: JudgeOptions | None = None) -> None:
        if size % _COARSE:
            raise RequestError(f"the judge looks at canvases of a multiple of {_COARSE} pixels, not {size}")
        self.size, self.options = size, options or JudgeOptions()
        compositor = Compositor(size)
        self._banks = [_Bank(name, compositor) for name in SIZES]
        ground = torch.stack([compositor.backdrop(name, i) for name in BACKDROPS for i in range(VARIANTS)]).float() / 255
        self._ground = ground  # [backdrops * VARIANTS, 3, size, size]
        self._small_ground = F.adaptive_avg_pool2d(ground, _GROUND).flatten(1)
        self._filters()

    def _filters(self) -> None:
        """Spectra of all sprites on the coarse canvas: complex [frequencies, 5, filters]; where each may stand."""
        step = self.size // _COARSE
        planes, limits = [], []
        for bank in self._banks:
            alpha, colour = F.avg_pool2d(bank.alpha, step), F.avg_pool2d(bank.colour, step)
            square = (colour**2).sum(1, keepdim=True) / alpha.clamp_min(1e-3)
            side = bank.side // step
            planes.append(F.pad(torch.cat([colour, alpha, square], 1), (0, _COARSE - side, 0, _COARSE - side)))
            limits += [_COARSE - side] * len(THINGS)
        spectrum = torch.fft.rfft2(torch.cat(planes)).conj()  # [filters, 5, 32, 17]
        self._spectra = spectrum.flatten(2).permute(2, 1, 0).contiguous()
        line = torch.arange(_COARSE)
        fits = line[None] <= torch.tensor(limits)[:, None]
        self._legal = fits[:, :, None] & fits[:, None, :]  # [filters, 32, 32]

    @torch.no_grad()
    def look(self, images: Tensor) -> list[Verdict]:
        """What each picture shows. images: uint8 [n, 3, height, width] of any size."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise RequestError(f"the judge looks at uint8 [n, 3, height, width], not {images.dtype} {tuple(images.shape)}")
        verdicts = []
        for chunk in images.split(16):
            x = chunk.float() / 255
            if x.shape[-2:] != (self.size, self.size):
                x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
            verdicts += self._look(x.clamp(0, 1))
        return verdicts

    def _look(self, x: Tensor) -> list[Verdict]:
        n = len(x)
        free = torch.ones(n, 1, self.size, self.size)
        ground, _ = self._backdrop(x, free)
        found = self._things(x, ground)
        for i in range(n):
            for item in found[i]:
                self._cover(free[i], item)
        again, share = self._backdrop(x, free)
        moved = [i for i in range(n) if again[i] != ground[i]]
        if moved:
            for i, things in zip(moved, self._things(x[moved], again[moved]), strict=True):
                found[i] = things
        verdicts = []
        for i in range(n):
            name = BACKDROPS[int(again[i]) // VARIANTS] if share[i] >= self.options.backdrop else None
            seen = tuple(self._seen(item) for item in found[i])
            verdicts.append(Verdict(things=seen, backdrop=name, backdrop_score=round(float(share[i]), 4)))
        return verdicts

    def _backdrop(self, x: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the best variant and the share of the free pixels that it explains: [n], [n]."""
        small = F.adaptive_avg_pool2d(x, _GROUND).flatten(1).view(len(x), 1, 3, -1)
        weight = F.adaptive_avg_pool2d(free, _GROUND).flatten(1)[:, None]
        error = (small - self._small_ground.view(1, -1, 3, _GROUND**2)).square().mean(2)  # [n, variants, pixels]
        cost = (error.clamp_max(self.options.outlier) * weight).sum(-1)
        best = cost.argmin(1)
        held = (error.gather(1, best[:, None, None].expand(-1, 1, error.shape[-1])) < self.options.outlier) * weight
        return best, held.sum(-1)[:, 0] / weight.sum(-1)[:, 0].clamp_min(1e-6)

    def _things(self, x: Tensor, ground: Tensor) -> list[list[tuple]]:
        """Greedy search, all pictures at once. Gives (bank, thing, top, left, score) lists."""
        n = len(x)
        canvas, free = self._ground[ground], torch.ones(n, 1, self.size, self.size)
        found: list[list[tuple]] = [[] for _ in range(n)]
        active = list(range(n))
        for _ in range(_MOST):
            if not active:
                break
            picks = self._best(x[active], canvas[active], free[active])
            still = []
            for i, pick in zip(active, picks, strict=True):
                if pick is None:
                    continue
                found[i].append(pick)
                self._cover(free[i], pick)
                still.append(i)
            active = still
        return found

    def _coarse(self, x: Tensor, canvas: Tensor, free: Tensor) -> Tensor:
        """Score of every filter at every coarse position: [n, filters, 32, 32]."""
        step, weight = self.size // _COARSE, 1 + self.options.strictness
        w = F.avg_pool2d(free, step)
        small, behind = F.avg_pool2d(x, step), F.avg_pool2d(canvas, step)
        against = w * (small - behind).square().sum(1, keepdim=True)
        maps = torch.cat([2 * weight * w * small, against - weight * w * small.square().sum(1, keepdim=True), -weight * w], 1)
        spectrum = torch.fft.rfft2(maps).flatten(2).permute(2, 0, 1)  # [frequencies, n, 5]
        product = torch.bmm(spectrum, self._spectra).permute(1, 2, 0)  # [n, filters, frequencies]
        score = torch.fft.irfft2(product.unflatten(2, (_COARSE, _COARSE // 2 + 1)), s=(_COARSE, _COARSE))
        return score.masked_fill(~self._legal, -math.inf)

    def _best(self, x: Tensor, canvas: Tensor, free: Tensor) -> list[tuple | None]:
        """The best thing in each picture that is still to be found, or None."""
        n, step = len(x), self.size // _COARSE
        score = self._coarse(x, canvas, free).flatten(2)
        height, place = score.max(-1)  # [n, filters]
        filters = height.topk(self.options.shortlist, dim=1).indices
        place = place.gather(1, filters)
        bank_of, thing_of = filters // len(THINGS), filters % len(THINGS)
        top, left = place // _COARSE * step, place % _COARSE * step
        best: list[tuple | None] = [None] * n
        for number, bank in enumerate(self._banks):
            image, slot = (bank_of == number).nonzero(as_tuple=True)
            if not len(image):
                continue
            fine = self._fine(bank, thing_of[image, slot], image, top[image, slot], left[image, slot], x, canvas, free)
            for row in zip(image.tolist(), thing_of[image, slot].tolist(), *fine, strict=True):
                i, thing, y, z, value, share, good = row
                if good and (best[i] is None or value > best[i][5]):
                    best[i] = (number, thing, y, z, share, value)
        return best

    def _fine(
        self, bank: _Bank, things: Tensor, image: Tensor, top: Tensor, left: Tensor, x: Tensor, canvas: Tensor, free: Tensor
    ) -> tuple[list, ...]:
        """Candidates of one size at full resolution around their coarse places: top, left, value, share explained, good."""
        options, side, reach = self.options, bank.side, self.size // _COARSE
        offset = torch.arange(-reach, reach + 1)
        y = (top[:, None] + offset).clamp(0, self.size - side)  # [m, r]
        z = (left[:, None] + offset).clamp(0, self.size - side)
        line = torch.arange(side)
        rows = (y[:, :, None] + line)[:, :, None, :, None]  # [m, r, 1, side, 1]
        columns = (z[:, :, None] + line)[:, None, :, None, :]  # [m, 1, r, 1, side]
        stacked = torch.cat([x, free, ((x - canvas) ** 2).sum(1, keepdim=True)], 1).permute(0, 2, 3, 1)
        patch = stacked[image[:, None, None, None, None], rows, columns]  # [m, r, r, side, side, 5]
        alpha = bank.alpha[things, 0][:, None, None] * patch[..., 3]  # [m, r, r, side, side]
        sprite = bank.straight[things].permute(0, 2, 3, 1)[:, None, None]
        missed = (alpha * (patch[..., :3] - sprite).square().sum(-1)).sum((-1, -2))  # [m, r, r]
        against = (alpha * patch[..., 4]).sum((-1, -2))
        area = alpha.sum((-1, -2))
        value = (against - (1 + options.strictness) * missed).flatten(1)
        best = value.argmax(1, keepdim=True)
        pick = lambda t: t.flatten(1).gather(1, best)[:, 0]  # noqa: E731
        missed, against, area = pick(missed), pick(against), pick(area)
        share = 1 - missed / against.clamp_min(1e-6)
        whole = bank.alpha[things].sum((1, 2, 3))
        good = (
            (share > options.explained)
            & (missed < 3 * options.error * area)
            & (against > 3 * options.contrast * area)
            & (area > options.visible * whole)
        )
        width = 2 * reach + 1
        y, z = y.gather(1, best // width)[:, 0], z.gather(1, best % width)[:, 0]
        return y.tolist(), z.tolist(), pick(value).tolist(), share.tolist(), good.tolist()

    def _cover(self, free: Tensor, item: tuple) -> None:
        """Take a found thing's pixels out of [1, size, size]."""
        bank, top, left = self._banks[item[0]], item[2], item[3]
        free[:, top : top + bank.side, left : left + bank.side] *= 1 - bank.alpha[item[1]]

    def _seen(self, item: tuple) -> Seen:
        bank = self._banks[item[0]]
        half = bank.side / 2
        x, y = (item[3] + half) / self.size, (item[2] + half) / self.size
        return Seen(thing=THINGS[item[1]].name, size=bank.name, x=x, y=y, score=round(item[4], 4))


def shows(verdict: Verdict, scene: Scene) -> dict[str, bool]:
    """Which facts of the scene the picture shows; a fact that the scene does not state counts as right."""
    wanted, seen = Counter(p.thing for p in scene.things), Counter(s.thing for s in verdict.things)
    facts = {
        "things_right": set(wanted) == set(seen),
        "count_right": wanted == seen,
        "relation_right": scene.relation is None or _related(verdict, scene),
        "backdrop_right": verdict.backdrop == scene.backdrop,
        "size_right": scene.kind != "one" or any(_same(s, scene.things[0]) and s.size == scene.things[0].size for s in verdict.things),
        "place_right": scene.kind != "one" or any(_same(s, scene.things[0]) and _in_place(s, scene.things[0]) for s in verdict.things),
    }
    return {**facts, "all": all(facts.values())}


def _same(seen: Seen, placed: Placed) -> bool:
    return seen.thing == placed.thing


def _in_place(seen: Seen, placed: Placed, slack: float = 0.04) -> bool:
    """In the ninth that was asked for, or less than `slack` outside it: a shift of a pixel or two is no mistake."""
    shifts = (-slack, 0.0, slack)
    clamp = lambda v: min(max(v, 0.0), 0.999)  # noqa: E731
    wanted = place_of(placed.x, placed.y)
    return any(place_of(clamp(seen.x + dx), clamp(seen.y + dy)) == wanted for dx in shifts for dy in shifts)


def _related(verdict: Verdict, scene: Scene) -> bool:
    a, b = scene.things[0].thing, scene.things[1].thing
    for one in verdict.things:
        for other in verdict.things:
            if one.thing == a and other.thing == b and _relation(one, other) == scene.relation:
                return True
    return False


def _relation(one: Seen, other: Seen) -> str | None:
    first, second = (Placed(thing=s.thing, size=s.size, x=s.x, y=s.y) for s in (one, other))
    return relation_of(first, second)
