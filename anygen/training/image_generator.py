"""nano's image generator: a latent flow-matching UNet with its own text encoder, kept as a plain diffusers pipeline."""

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.error import RequestError
from anygen.playground.arrange import on_cells, settle
from anygen.playground.caption import caption, paraphrase
from anygen.playground.compositor import Compositor
from anygen.playground.edit import sample_edit
from anygen.playground.reading import mentions
from anygen.playground.scene import Scene, sample_scene
from anygen.playground.squares import placed_caption, squares_in
from anygen.playground.things import INDEX, THINGS
from anygen.training.image_pipeline import (
    TIMESTEPS,
    GeneratorSizes,
    build_adapter,
    build_pipeline,
    build_text_encoder,
    build_unet,
)
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch
from anygen.training.tokenizer import caption_tokenizer

ANCHOR = 4.0
"""Weight of what holds a trained text encoder near to what it says."""

_TOLD_APART = 0.2  # weight of telling from what the adapter sees which thing is where
_UNRELATED = 0.1  # share of the pictures to be edited that the scene has nothing of


def noise_levels(count: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """Logit-normal sigmas [count], as in Stable Diffusion 3, but about 0.73: what stands where is decided near 1."""
    return torch.sigmoid(torch.randn(count, generator=rng, device=device) + 1.0)


def flow_loss(
    unet: Any,
    latents: Tensor,
    condition: Tensor,
    rng: torch.Generator,
    weight: Tensor | None = None,
    features: list[Tensor] | None = None,
) -> Tensor:
    """Flow matching (arXiv 2210.02747): x_sigma = (1 - sigma) x + sigma e, the UNet predicts e - x.

    `latents` [batch, channels, height, width] are scaled. `weight` [batch, 1, height, width] with mean 1 says what of
    the picture counts how much; `features` are an adapter's, one for each level of the UNet.
    """
    noise = torch.randn(latents.shape, generator=rng, device=latents.device)
    sigma = noise_levels(len(latents), rng, latents.device).view(-1, 1, 1, 1)
    noisy = (1 - sigma) * latents + sigma * noise
    predicted = unet(
        noisy,
        sigma.flatten() * TIMESTEPS,
        encoder_hidden_states=condition,
        down_intrablock_additional_residuals=None if features is None else list(features),
    ).sample
    squared = (predicted.float() - (noise - latents)).square()
    return (squared if weight is None else weight * squared).mean()


class ImageGeneratorStage(nn.Module):
    """Trains UNet and text encoder on captioned scenes; the autoencoder is frozen.

    Each scene is seen at `repeats` noise levels; a share `plain` of the captions is canonical, the others paraphrase.
    What lies under a thing counts `focus` times as much as the backdrop, which is learnt first. After `text_steps`
    batches the text encoder rests, so that alignment can begin while the UNet goes on.

    With `aligned`, things stand on the autoencoder's grid: each has one look in latents per size, not one per offset
    of pixels, and is learnt from far fewer samples. `looks` weighs a second task for the text encoder: from its state
    at a thing's name a linear head tells the latents of that thing's sprite and the cells that it covers. The head is
    not part of the pipeline. The UNet waits for `sketch_steps` batches, in which the text encoder learns that alone.

    In a share `settled` of the scenes the caption alone says where everything stands (`arrange.settle`). Where it does
    not, the UNet has to agree with itself on one of many places, at noise levels that are rarely drawn; until it can,
    things come twice and relations are lost.

    A share `edits` of the scenes are edits of another one, whose picture an adapter reads beside them: what is not
    touched is where it was there, to the pixel, and what comes on the nearest cells. Now and then that picture has
    nothing to do with the scene. To know what goes and what stays the UNet has to find what the caption names: from
    what the adapter sees in a cell, a linear head tells which thing is there. The head is not part of the pipeline.

    A share `placed` of the scenes stands anywhere on the grid, and the caption says where square by square
    (`squares.placed_caption`). A text encoder that learns this when it can do all else is held near to what it says of
    other captions: `anchor` weighs the distance to a copy of it, in units of its states' deviation.
    """

    name = "image-generator"
    short = True
    sprites: Tensor
    anchor: Any  # the text encoder as it was

    def __init__(
        self,
        vae: Any,
        tokenizer: Any,
        side: int,
        sizes: GeneratorSizes,
        *,
        repeats: int = 2,
        plain: float = 0.7,
        text_steps: int | None = None,
        focus: float = 1.0,
        aligned: bool = True,
        looks: float = 1.0,
        sketch_steps: int = 0,
        settled: float = 0.0,
        edits: float = 0.0,
        placed: float = 0.0,
        anchor: float = 0.0,
    ) -> None:
        super().__init__()
        self.focus, self.settled, self.edits = focus, settled, edits
        self.placed, self.anchor_weight = placed, anchor
        self.text_steps = text_steps
        self.vae = vae.eval().requires_grad_(False)
        self.side, self.repeats, self.plain = side, repeats, plain
        self.tokenizer = caption_tokenizer(tokenizer, sizes.length)
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        self.text_encoder = build_text_encoder(len(tokenizer), sizes, end, pad)
        grid = side // 2 ** (len(vae.config.block_out_channels) - 1)
        self.unet = build_unet(vae.config.latent_channels, grid, sizes)
        self.adapter = build_adapter(vae.config.latent_channels, sizes) if edits else None
        self.who = nn.Linear(sizes.channels[0], len(THINGS) + 1) if edits else None
        self.compositor = Compositor(side)
        self.cells, self.grid = grid, grid if aligned else None
        self.looks_weight, self.sketch_steps = looks, sketch_steps
        if looks:
            sprites = self._sprites()
            self.look = nn.Linear(sizes.text_width, sprites.shape[-1] + grid * grid)
            self.register_buffer("sprites", sprites, persistent=False)

    def to(self, *args: Any, **kwargs: Any) -> "ImageGeneratorStage":
        super().to(*args, **kwargs)
        self.compositor = Compositor(self.side, next(self.parameters()).device)
        return self

    @torch.no_grad()
    def _sprites(self) -> Tensor:
        """Latents of every thing's large sprite on grey, upright and after one to three quarter turns clockwise,
        [turns, things, values], each value with mean 0 and deviation 1."""
        sprites = torch.stack([self.compositor.sprite(thing.name, "large") for thing in THINGS]).to(torch.int32)
        alpha = sprites[:, 3:]
        pixels = (sprites[:, :3] * alpha + 128 * (255 - alpha) + 127) // 255
        turned = torch.stack([pixels.rot90(-turn, (-2, -1)) for turn in range(4)])
        latents = self.vae.encode(to_pixels(turned.flatten(0, 1))).latent_dist.mean.flatten(1)
        scaled = (latents - latents.mean(0)) / latents.std(0).clamp_min(1e-4)
        return scaled.unflatten(0, turned.shape[:2])

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids [texts, length], padded as the pipeline pads them, and where each token ends in its text."""
        coded = self.tokenizer(
            texts, padding="max_length", truncation=True, return_tensors="pt", return_offsets_mapping=True
        )
        return coded["input_ids"], coded["offset_mapping"][..., 1]

    def named(self, texts: list[str], ends: Tensor, placed: Sequence[Sequence[tuple[int, str]]] = ()) -> Tensor:
        """At which token what thing's name ends: rows of (text, token, thing, -1), [names, 4].

        Of texts with squares also where these end, with a layer for the -1: `placed` are the layers and things that the
        squares of each text are of, in their order.
        """
        rows = []
        for row, text in enumerate(texts):
            found = [(INDEX[thing], -1, end) for thing, end in mentions(text).items()]
            if placed and len(squares := squares_in(text)) == len(placed[row]):
                found += [(INDEX[thing], layer, end) for (layer, thing), end in zip(placed[row], squares, strict=True)]
            for thing, layer, end in found:
                token = (ends[row] >= end).nonzero()
                if len(token):
                    rows.append((row, int(token[0]), thing, layer))
        return torch.tensor(rows).view(-1, 4)

    def scene(self, stream: random.Random) -> Scene:
        scene = sample_scene(stream, grid=self.grid)
        return settle(scene) if stream.random() < self.settled else scene

    def placed_scene(self, stream: random.Random) -> Scene:
        """A scene of which is told where all of it stands: any, or what an edit makes of one.

        Its backdrop is settled as often as those of other scenes.
        """
        edited = stream.random() < 0.3
        scene = on_cells(sample_edit(stream)[3]) if edited else sample_scene(stream, grid=self.grid)
        return replace(scene, variant=0) if stream.random() < self.settled else scene

    def edited(self, stream: random.Random) -> tuple[Scene | None, Scene]:
        """The scene of a picture to be edited, or None, and the scene to be drawn."""
        if stream.random() >= self.edits:
            return None, self.scene(stream)
        _, source, _, target = sample_edit(stream)
        if stream.random() < _UNRELATED:
            return source, self.scene(stream)
        return source, on_cells(target, source.things) if self.grid else target

    def ordered(self, stream: random.Random) -> tuple[Scene | None, Scene, str]:
        """The same, and what is said of the scene to be drawn."""
        if self.placed and stream.random() < self.placed:
            scene = self.placed_scene(stream)
            return None, scene, placed_caption(scene)
        source, target = self.edited(stream)
        return source, target, caption(target) if stream.random() < self.plain else paraphrase(target, stream)

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|generator")
        orders = [self.ordered(stream) for _ in range(max(1, size // self.repeats))]
        pairs, scenes = [(source, target) for source, target, _ in orders], [target for _, target, _ in orders]
        texts = ["" if stream.random() < 0.1 else text for _, _, text in orders]
        layers, ground = self.compositor.orders(scenes)
        ids, ends = self.tokens(texts)
        batch = {"layers": layers, "ground": ground, "ids": ids, "step": torch.tensor(step)}
        if self.anchor_weight:
            batch["known"] = torch.tensor([t != placed_caption(s) for t, s in zip(texts, scenes, strict=True)])
        if self.adapter is not None:
            seen, behind = self.compositor.orders([source or target for source, target in pairs])
            given = torch.tensor([source is not None for source, _ in pairs])
            batch |= {"source_layers": seen, "source_ground": behind, "given": given}
            batch["source_things"] = self.compositor.things([source or target for source, target in pairs])
        if self.looks_weight:
            batch |= {
                "named": self.named(texts, ends, list(map(layers_of, scenes))),
                "things": self.compositor.things(scenes),
            }
        return batch

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        rests = self.text_steps is not None and int(batch["step"]) >= self.text_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and not rests):
            condition = self.text_encoder(batch["ids"])[0]  # [scenes, length, width]
        losses = self.told(batch, condition) if self.looks_weight and not rests and len(batch["named"]) else {}
        if self.anchor_weight and not rests:
            losses["anchor"] = self.anchor_weight * self.apart(batch, condition)
        if losses and int(batch["step"]) < self.sketch_steps:
            return losses
        latents = self.latents(batch["layers"], batch["ground"]).repeat(self.repeats, 1, 1, 1)
        condition = condition.repeat(self.repeats, 1, 1)
        weight = self.weight(self.under(batch), latents)
        seen = self.seen(batch)
        losses["flow"] = flow_loss(self.unet, latents, condition, rng, weight, self.features(batch, seen))
        if seen is not None and self.who is not None:
            losses["who"] = _TOLD_APART * self.recognised(batch, self.who(seen[0].flatten(2).transpose(1, 2)))
        return losses

    def apart(self, batch: Batch, condition: Tensor) -> Tensor:
        """How far the states of captions without squares are from what they were, in units of their deviation."""
        known, real = batch["known"], (batch["ids"] != self.tokenizer.pad_token_id).float()
        with torch.no_grad():
            before = self.anchor(batch["ids"])[0]
        away = (condition - before).square().mean(-1) / before.var().clamp_min(1e-6)  # [texts, length]
        weight = (0.2 + 0.8 * real) * known.float()[:, None]
        return (weight * away).sum() / weight.sum().clamp_min(1e-6)

    @torch.no_grad()
    def latents(self, layers: Tensor, ground: Tensor) -> Tensor:
        """Scaled latents of what was ordered of the compositor: [scenes, channels, grid, grid]."""
        pixels = to_pixels(self.compositor.draw(layers, ground))
        return self.vae.encode(pixels).latent_dist.mean.float() * self.vae.config.scaling_factor

    def seen(self, batch: Batch) -> list[Tensor] | None:
        """What the adapter makes of the pictures to be edited: [scenes, channels, cells, cells] for each level."""
        if self.adapter is None:
            return None
        return list(self.adapter(self.latents(batch["source_layers"], batch["source_ground"])))

    def features(self, batch: Batch, seen: list[Tensor] | None) -> list[Tensor] | None:
        """What the UNet is shown of it, nothing where no picture is edited, at every noise level."""
        if seen is None:
            return None
        given = batch["given"].float().view(-1, 1, 1, 1)
        return [(given * level).repeat(self.repeats, 1, 1, 1) for level in seen]

    def recognised(self, batch: Batch, told: Tensor) -> Tensor:
        """How well `told` [scenes, cells, things + 1] has what is in front; cells with nothing count a fifth."""
        cover = self.compositor.cover(batch["source_layers"], self.cells)  # [scenes, LAYERS, cells]
        things, nothing = batch["source_things"], len(THINGS)
        there = torch.full_like(cover[:, 0], nothing, dtype=torch.long)
        for layer in range(cover.shape[1]):
            index = things[:, layer, None]
            there = torch.where(cover[:, layer] & (index >= 0), index, there)
        weight = torch.ones(nothing + 1, device=told.device)
        weight[nothing] = 0.2
        return F.cross_entropy(told.float().flatten(0, 1), there.flatten(), weight)

    def told(self, batch: Batch, condition: Tensor) -> dict[str, Tensor]:
        """How well the states at things' names, and at squares, tell what the things look like and where they are."""
        return self.tells(
            condition, batch["named"], batch["things"], self.compositor.cover(batch["layers"], self.cells)
        )

    def tells(
        self, condition: Tensor, named: Tensor, things: Tensor, cover: Tensor, turns: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The same of pictures whose `things` [pictures, layers] cover these cells [pictures, layers, cells], and are
        turned clockwise by so many quarters, `turns` [pictures, layers], or upright."""
        row, token, thing, layer = named.unbind(1)
        told = self.look(condition[row, token]).float()
        look, where = told.split([self.sprites.shape[-1], told.shape[1] - self.sprites.shape[-1]], 1)
        order = torch.arange(things.shape[1], device=layer.device)
        its = torch.where(layer[:, None] < 0, things[row] == thing[:, None], order == layer[:, None])
        there = (cover[row] & its[..., None]).any(1).float()
        turn = torch.zeros_like(thing) if turns is None else (turns[row] * its).amax(1)
        return {
            "looks": self.looks_weight * F.mse_loss(look, self.sprites[turn, thing]),
            "where": self.looks_weight * F.binary_cross_entropy_with_logits(where, there),
        }

    def under(self, batch: Batch) -> Tensor:
        """Cells under a thing of the scene, or of the picture that is edited: what goes has to go wholly. Bool
        [scenes, cells]."""
        under = self.compositor.cover(batch["layers"], self.cells).any(1)
        if self.adapter is None:
            return under
        return under | (batch["given"][:, None] & self.compositor.cover(batch["source_layers"], self.cells).any(1))

    def weight(self, under: Tensor, latents: Tensor) -> Tensor:
        """Latents under a thing count `focus` times what the backdrop counts: [batch, 1, grid, grid], mean 1."""
        weight = 1 + (self.focus - 1) * under.to(latents).view(-1, 1, *latents.shape[2:])
        return (weight / weight.mean()).repeat(self.repeats, 1, 1, 1)

    def pipeline(self) -> Any:
        """The pipeline as it is now; the parts are shared, not copied."""
        return build_pipeline(self.vae, self.unet, self.text_encoder, self.tokenizer, self.adapter)

    @torch.no_grad()
    def drawn(self, texts: list[str], sources: list[Scene] | None = None) -> Tensor:
        """Pictures of captions, or of the edits of `sources` that they describe: uint8 [texts, 3, side, side]."""
        adapter = self.adapter if sources else None
        pipeline = build_pipeline(self.vae, self.unet, self.text_encoder, self.tokenizer, adapter)
        device, pictures = self.unet.device, []
        for start in range(0, len(texts), 16):
            some = texts[start : start + 16]
            seen = (
                {"image": self.latents(*self.compositor.orders(sources[start : start + 16])).to(device)}
                if sources
                else {}
            )
            latents = pipeline(
                some,
                height=self.side,
                width=self.side,
                num_inference_steps=12,
                guidance_scale=3.0,
                generator=[torch.Generator().manual_seed(start + i) for i in range(len(some))],
                output_type="latent",
                **seen,
            ).images
            pixels = self.vae.decode(latents / self.vae.config.scaling_factor).sample / 2 + 0.5
            pictures.append((pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu())
        return torch.cat(pictures)

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out scenes drawn from their canonical captions, looked at by the judge; with an adapter also edits, and
        with `placed` also scenes told square by square."""
        from anygen.evaluation.cells import kept
        from anygen.evaluation.judge import Judge, shows
        from anygen.evaluation.sheet import sheet

        stream = random.Random("sheet")
        scenes = [sample_scene(stream, kind, "heldout") for kind in ("one",) * 32 + ("pair",) * 32]
        captions = [caption(scene) for scene in scenes]
        images = self.drawn(captions)
        edits = [sample_edit(stream, "heldout") for _ in range(32)] if self.adapter is not None else []
        if edits:
            images = torch.cat([images, self.drawn([caption(e[3]) for e in edits], [e[1] for e in edits])])
            scenes, captions = scenes + [e[3] for e in edits], captions + [f"{e[2]} {caption(e[3])}" for e in edits]
        squared = [sample_scene(stream, split="heldout", grid=self.grid) for _ in range(32)] if self.placed else []
        if squared:
            texts = [placed_caption(scene) for scene in squared]
            images = torch.cat([images, self.drawn(texts)])
            scenes, captions = scenes + squared, captions + texts
        verdicts = Judge(self.side).look(images)
        marks = [shows(verdict, scene) for verdict, scene in zip(verdicts, scenes, strict=True)]
        right = [m["things_right"] and m["count_right"] and m["backdrop_right"] for m in marks]
        pictures = list(images.permute(0, 2, 3, 1).numpy())
        sheet(pictures, captions, right=right).save(folder / f"{step:07d}.png")
        figures = {
            "one_right": sum(right[:32]) / 32,
            "pair_right": sum(r and m["relation_right"] for r, m in zip(right[32:64], marks[32:64], strict=True)) / 32,
            "backdrop_right": sum(m["backdrop_right"] for m in marks[:64]) / 64,
        }
        if edits:
            rest = [kept(v, e[1], e[3]) for v, e in zip(verdicts[64:96], edits, strict=True)]
            figures["edit_right"] = sum(m["all"] and r for m, r in zip(marks[64:96], rest, strict=True)) / 32
            figures["edit_kept"] = sum(rest) / 32
        if squared:
            there = [kept(v, scene, scene) for v, scene in zip(verdicts[-32:], squared, strict=True)]
            figures["placed_right"] = sum(m["all"] and r for m, r in zip(marks[-32:], there, strict=True)) / 32
            figures["placed_there"] = sum(there) / 32
        return figures


def layers_of(scene: Scene) -> list[tuple[int, str]]:
    """On which of the compositor's layers each thing of a scene is, in the scene's order."""
    things = [placed.thing for placed in scene.things]
    last = len(things) - 1
    return [(last - i if scene.relation == "in front of" else i, thing) for i, thing in enumerate(things)]


def pictures_of(
    image: Any,
    *,
    focus: float,
    settled: float,
    edits: float,
    placed: float = 0.0,
    sketch_steps: int = 0,
    adapter: str = "",
) -> ImageGeneratorStage:
    """The image generator's own stage on the networks of its trained pipeline; its UNet and its adapter learn.

    A pipeline without an adapter gets a new one of the type `adapter` ("full_adapter" or "light_adapter"), if any;
    RequestError where it has one of the other type.

    For `sketch_steps` batches its text encoder learns alone, held near to what it says of captions without squares;
    then it rests, as films and output projectors know what it says.
    """
    config, own = image.unet.config, getattr(image, "adapter", None)
    sizes = GeneratorSizes(
        channels=tuple(config.block_out_channels),
        layers=config.layers_per_block,
        heads=config.attention_head_dim,
        text_width=image.text_encoder.config.d_model,
        length=image.tokenizer.model_max_length,
    )
    if own is not None and adapter and own.config.adapter_type != adapter:
        raise RequestError(f"adapter={adapter}: this generator has a {own.config.adapter_type}, which learns on")
    if own is None and adapter:
        own = build_adapter(image.vae.config.latent_channels, sizes, adapter)
    side, edits = int(config.sample_size) * image.vae_scale_factor, edits if own is not None else 0.0
    stage = ImageGeneratorStage(
        image.vae,
        image.tokenizer,
        side,
        sizes,
        text_steps=sketch_steps,
        focus=focus,
        looks=1.0 if sketch_steps else 0.0,
        sketch_steps=sketch_steps,
        settled=settled,
        edits=edits,
        placed=placed,
        anchor=ANCHOR if sketch_steps else 0.0,
    )
    stage.unet, stage.text_encoder, stage.adapter = image.unet, image.text_encoder, own
    stage.requires_grad_(False).unet.requires_grad_(True)
    if sketch_steps:
        stage.anchor = copy.deepcopy(image.text_encoder).requires_grad_(False)
        for part in (stage.text_encoder, stage.look):
            part.requires_grad_(True)
    if own is not None:
        own.requires_grad_(True)
    if stage.who is not None:
        stage.who.requires_grad_(True)
    return stage
