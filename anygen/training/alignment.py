"""Stages 1 to 3: align encoders, align generators, tune on dialogues; they differ in data and in what is trained."""

import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.error import RequestError
from anygen.model import AnyGenModel, positions
from anygen.playground.chat import Chat
from anygen.playground.dialogue import LONG, caption_of, in_words, sample_chat, tasks
from anygen.playground.reading import answer_right
from anygen.playground.sense_dialogue import SENSE_MIXTURE
from anygen.playground.slips import slipped
from anygen.projectors import bridging
from anygen.projectors.input import BorrowedProjector, ResamplerProjector, tells_slots
from anygen.projectors.output import EYES
from anygen.signals import MEDIA
from anygen.template import IGNORE, Rendered, encode
from anygen.training import quantized
from anygen.training.folder import FolderChats
from anygen.training.llm import answer_weights
from anygen.training.loop import Batch
from anygen.training.packing import pack
from anygen.training.sense import SENSES, WORDS, Sense, pool_cover
from anygen.training.sighting import sources, told_beside, told_to
from anygen.training.telling import Telling

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""All matrices of a Llama's block."""
STAGE_1 = {"caption": 3, "vqa": 4, "pope": 2, "hear": 3, "sound_vqa": 3, "sound_pope": 1}
STAGE_1 |= {"watch": 3, "film_vqa": 4, "film_pope": 1, "attend": 1}
STAGE_1 |= {"depth": 3, "depth_vqa": 2, "thermal": 3, "thermal_vqa": 2, "imu": 3}
STAGE_2 = {"draw": 6, "edit": 8, "dialogue": 2, "story": 1, "sound": 5, "repeat": 3, "voice": 1, "both": 2, "see": 1}
STAGE_2 |= {"film": 6, "animate": 3, "refilm": 3, "cinema": 1, "talkie": 2, "screen": 2, "score": 1, "frame": 1}
STAGE_2 |= {"depth_draw": 1, "thermal_draw": 1, "imu_draw": 1}
STAGE_3 = {
    "draw": 20,
    "caption": 12,
    "vqa": 22,
    "pope": 14,
    "edit": 18,
    "world": 22,
    "sums": 6,
    "unknown": 9,
    "story": 5,
    "dialogue": 8,
    "hear": 10,
    "sound": 14,
    "sound_vqa": 12,
    "sound_pope": 6,
    "see": 8,
    "voice": 8,
    "both": 8,
    "repeat": 10,
    "belong": 5,
    "unheard": 3,
    "mixed": 5,
    "watch": 12,
    "film": 18,
    "film_vqa": 18,
    "film_pope": 4,
    "animate": 9,
    "frame": 11,
    "refilm": 13,
    "unfilmed": 2,
    "cinema": 5,
    "talkie": 7,
    "score": 16,
    "screen": 7,
    "attend": 4,
    **SENSE_MIXTURE,
    "depth_draw": 14,  # what is drawn of a map is less often right than what is told of it: it was rarely asked for
    "thermal_draw": 14,
}


SPOKEN = {"pope": 2.5, "sound_pope": 2.0, "film_pope": 2.0, "vqa": 1.5, "film_vqa": 1.3, "world": 1.3, "edit": 2.5}
SPOKEN |= {"story": 1.5, "repeat": 1.5, "refilm": 2.0, "frame": 2.0, "score": 2.0, "attend": 1.5}
"""How much more of these tasks batches have that learn language alone: those that compare, and change what is given."""
DRILLS = {"sums": 2.0, "unknown": 1.0}
"""What is learnt from many examples, as no two are alike: counting, and saying a name that was never heard."""


def mixture_for(mixture: Mapping[str, float], media: Collection[str]) -> dict[str, float]:
    """The tasks of a mixture that a model of these media can learn."""
    return {task: weight for task, weight in mixture.items() if task in tasks(media)}


class NamedFeatures(NamedTuple):
    """Encoder features [n, features, width], which tokens hold what [n, k, tokens], and its word [n, k] or -1."""

    features: Tensor
    cover: Tensor
    named: Tensor


class AlignmentStage(nn.Module):
    """One alignment stage over the playground's chats.

    `train` names what learns: "input" and "output" projectors, "signals" (the signal tokens' own embedding rows),
    "lora" (an adapter of `rank`, `alpha` and `dropout` on `matrices` of the LLM; of rank 0 none, and all of the LLM but
    its embeddings learns). All else is frozen. `diffusion` weighs the generator's loss.
    `names` weighs a term that pulls the projected tokens under a thing towards the LLM's own embedding of its name; it
    is computed on features of `pool` parts per modality, which the frozen encoders make once at the start.
    With `quantize` the LLM's frozen matrices are of four bits (`anygen.training.quantized`).
    With `checkpointing` the LLM keeps no activations of its blocks, and computes them again for the gradients.
    A share `slips` of what users say is typed carelessly, and answers are weighed as the language model's own training
    does (`llm.answer_weights`). With `data`, the chats of a data set take the playground's place, as they are. Input
    projectors of the media `resting` do not learn. In a share `spoken` of the batches only language is learnt: where
    a projector tells slots, the LLM is given the words that it should have told, and no conditions count. That takes
    half the time. A share `drills` of these is nothing but DRILLS, which take many examples.
    """

    def __init__(
        self,
        name: str,
        model: AnyGenModel,
        mixture: Mapping[str, float],
        train: set[str],
        *,
        length: int = 160,
        words: float = 0.0,
        rank: int = 32,
        alpha: int = 0,
        dropout: float = 0.0,
        matrices: Sequence[str] = MATRICES,
        condition: float = 1.0,
        diffusion: float = 0.0,
        names: float = 0.0,
        slips: float = 0.5,
        pool: int = 4096,
        checkpointing: bool = False,
        quantize: str = "",
        data: FolderChats | None = None,
        resting: Sequence[str] = (),
        spoken: float = 0.0,
        drills: float = 0.0,
    ) -> None:
        super().__init__()
        self.names_weight, self.slips = names, slips
        self.name, self.model, self.train_parts = name, model, train
        self.mixture = mixture_for(mixture, {*model.reads, *model.writes})
        self.length, self.words = length, words
        self.condition_weight, self.diffusion_weight = condition, diffusion
        self.data = data
        model.requires_grad_(False)
        if rank < 0 or not 0 <= spoken <= 1:
            raise RequestError(f"rank ({rank}) is not negative, and spoken ({spoken:g}) is a share, 0 to 1")
        if not 0 <= drills <= 1:
            raise RequestError(f"drills={drills:g} is a share of the batches that learn language alone, 0 to 1")
        if quantize:
            if "lora" in train and not rank:
                raise RequestError(f"weights of four bits do not learn: leave out quantize={quantize}, or rank=0")
            quantized.quantize(model.llm, quantize)
        if checkpointing and bridging.gated(model.input_projectors):
            raise RequestError(
                "activations of blocks that look at features are not computed again: checkpointing=false"
            )
        if checkpointing:
            llm = model.llm  # transformers 5 has two names for it, and warns of the first where it has the second
            enable = getattr(llm, "activation_checkpointing_enable", None) or llm.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        if "lora" in train and rank:
            model.llm = adapt(model.llm, rank, alpha, dropout, matrices)
        elif "lora" in train:
            model.llm.requires_grad_(True)
            model.llm.get_input_embeddings().requires_grad_(False)
            model.llm.get_output_embeddings().requires_grad_(False)
        if "input" in train:
            model.input_projectors.requires_grad_(True)
            for modality in resting:
                model.input_projectors[modality].requires_grad_(False)
        if "output" in train:
            model.output_projectors.requires_grad_(True)
        if "signals" in train:
            model.train_signal_rows(model.writes)
        self.draws = "output" in train
        self.senses = {
            modality: SENSES[modality](model, self.draws and modality in model.writes)
            for modality in SENSES
            if modality in model.reads or modality in model.writes
        }
        self.names = [encode(model.tokenizer, word) for word in WORDS]
        self.spoken, self.drills = spoken, drills
        self.speaking = {task: weight * SPOKEN.get(task, 1.0) for task, weight in mixture.items()}
        self.speech = Telling(model.tokenizer, model.llm.get_input_embeddings().weight) if spoken else None
        self.pool_size, self.pools = pool, dict[str, NamedFeatures]()

    def to(self, *args: Any, **kwargs: Any) -> "AlignmentStage":
        super().to(*args, **kwargs)
        device = self.model.device
        for modality, sense in self.senses.items():
            sense.to(device)
            if self.draws and modality in self.model.writes:
                self.model.generator(modality).to(device)
        return self

    @property
    def stacks(self) -> list[nn.Module]:
        """What every batch goes through, whatever media it holds."""
        return [self.model.llm]

    def train(self, mode: bool = True) -> "AlignmentStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.model.encoders.eval()
        return self

    def chat(self, stream: random.Random, split: str = "train") -> Chat:
        """A chat of the mixture; a share of `words` of those with pictures tells them in words."""
        return self._chat(stream, split, self.mixture)

    def _chat(self, stream: random.Random, split: str, mixture: Mapping[str, float]) -> Chat:
        task = stream.choices(list(mixture), list(mixture.values()))[0]
        chat = sample_chat(stream, task, split)
        if split == "train":
            chat = slipped(chat, stream, self.slips)
        return in_words(chat) if stream.random() < self.words else chat

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        if self.data is not None:
            return self.data.prepare(step, size, seed)
        stream = random.Random(f"{seed}|{step}|{self.name}")
        spoken = self.speech if self.spoken and stream.random() < self.spoken else None
        speaking = DRILLS if spoken and self.drills and stream.random() < self.drills else self.speaking
        chats: list[Rendered] = []
        total = 0
        while total < 1.05 * size * self.length:
            chat = self._chat(stream, "train", speaking) if spoken else self.chat(stream)
            chats.append(self.model.render(chat.messages))
            total += len(chats[-1].ids)
        batch, inputs, outputs = pack(chats, size, self.length, self.model.vocabulary.pad)
        for modality, sense in self.senses.items():
            shown = [part for part in inputs if part["type"] == modality]
            if shown and spoken and sense.slotted and tells_slots(self.model.input_projectors, modality):
                tokens = self.model.input_projectors[modality].tokens
                batch[f"spoken_{modality}"] = spoken.spoken(list(map(sense.slots, shown)), tokens)
            elif shown:
                batch |= {f"{modality}/shown/{key}": value for key, value in sense.shown(shown).items()}
            made = [part for part in outputs if part["type"] == modality]
            if made and self.draws and not spoken:
                generator = self.model.generator(modality)
                sighted = self.model.output_projectors[modality].sighted
                behind = sources(made, stream) if sighted else [None] * len(made)
                if seen := [source for source in behind if source is not None]:
                    sees = EYES[modality]
                    given = self.senses[sees].shown([{"type": sees, "scene": source} for source in seen])
                    batch |= {f"{modality}/seen/{key}": value for key, value in given.items()}
                    batch[f"edits_{modality}"] = torch.tensor([source is not None for source in behind])
                texts = told_beside(generator, made, behind) if sighted else [told_to(generator, part) for part in made]
                coded = generator.coded(texts)
                batch |= {f"{modality}/told/{key}": value for key, value in coded.items()}
                if self.diffusion_weight:
                    batch |= {f"{modality}/made/{key}": value for key, value in sense.made(made).items()}
        return batch

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        media = {m: batch[f"features_{m}"] for m in MEDIA if f"features_{m}" in batch}
        conditions = {m: batch[f"conditions_{m}"] for m in MEDIA if f"conditions_{m}" in batch}
        shown, told, made, behind = (
            {m: _under(batch, f"{m}/{key}/") for m in self.senses} for key in ("shown", "told", "made", "seen")
        )
        seen: dict[str, list[Tensor | None]] = {}
        with torch.no_grad():
            for modality, sense in self.senses.items():
                if shown[modality]:
                    media[modality] = self.model.encoders[modality](sense.features_of(shown[modality])).float()
                if told[modality]:
                    conditions[modality] = self.model.generator(modality).tell(**told[modality]).float()
                if behind[modality]:
                    pixels = self.senses[EYES[modality]].features_of(behind[modality])
                    features = iter(self.model.eye(modality)(pixels).float())
                    seen[modality] = [next(features) if one else None for one in batch[f"edits_{modality}"].tolist()]
        weights = {m: padding_weights(given["attention_mask"]) for m, given in told.items() if given}
        table = self.speech.table if self.speech else None
        spoken = {m: table[batch[f"spoken_{m}"]] for m in self.senses if table is not None and f"spoken_{m}" in batch}
        losses, predicted = self.model(
            batch["ids"],
            labels=batch["labels"],
            media=media,
            conditions=conditions,
            condition_weights={m: w for m, w in weights.items() if w.shape[1] == conditions[m].shape[1]},
            projected=spoken,
            return_conditions=True,
            label_weights=answer_weights((batch["labels"] != IGNORE).float()) if self.data is None else None,
            seen=seen,
        )
        if self.names_weight and self.data is None:
            for modality in (m for m in self.model.reads if lies_on_patches(self.model.input_projectors[m])):
                losses[f"names_{modality}"] = self.names_weight * self.name_loss(modality, rng)
        for modality in self.senses:
            if f"condition_{modality}" in losses:
                losses[f"condition_{modality}"] = self.condition_weight * losses[f"condition_{modality}"]
            drawn = self.senses[modality].media_of(made[modality]) if made[modality] else None
            drawn = batch.get("drawn") if modality == "image" and drawn is None else drawn
            if drawn is not None:
                noise = torch.Generator().manual_seed(rng.initial_seed())
                loss = self.model.generator(modality).diffusion_loss(predicted[modality], drawn, noise)
                losses[f"diffusion_{modality}"] = self.diffusion_weight * loss
        if not self.train_parts & {"input", "lora", "signals"}:
            losses["_text"] = losses.pop("text")
        return losses

    def name_loss(self, modality: str, rng: torch.Generator, count: int = 192) -> Tensor:
        """Cross-entropy of what `count` parts of the pool hold among all WORDS, and the distance to its embedding."""
        if modality not in self.pools:
            self.pools[modality] = self.named_features(modality)
        pool = self.pools[modality]
        rows = torch.randint(len(pool.features), (count,), generator=rng, device=rng.device)
        projected = self.model.project(modality, pool.features[rows].float()).float()  # [count, tokens, width]
        cover, named = pool.cover[rows].float(), pool.named[rows]
        pooled = (cover @ projected) / cover.sum(-1, keepdim=True).clamp_min(1e-6)
        table = self.model.llm.get_input_embeddings().weight.detach().float()
        names = torch.stack([table[ids].mean(0) for ids in self.names])  # [words, width]
        there = (named >= 0) & (cover.sum(-1) > 0)
        pooled, wanted = pooled[there], named[there]
        cosine = F.normalize(pooled, dim=-1) @ F.normalize(names, dim=-1).T
        distance = (pooled - names[wanted]).square().sum(-1) / names.square().sum(-1).mean()
        return F.cross_entropy(10 * cosine, wanted) + distance.mean()

    @torch.no_grad()
    def named_features(self, modality: str) -> "NamedFeatures":
        """The pool: features of random training parts, the same in every run."""
        stream, sense, device = random.Random(f"pool {modality}"), self.senses[modality], self.model.device
        features, covers, named = [], [], []
        for _ in range(0, self.pool_size, 32):
            shown = {
                key: value.to(device) for key, value in sense.shown([sense.sample(stream) for _ in range(32)]).items()
            }
            features.append(self.model.encoders[modality](sense.features_of(shown)))
            cover = sense.cover(shown, features[-1].shape[1])
            covers.append(pool_cover(cover, self.model.input_projectors[modality]).bfloat16())
            named.append(shown["named"])
        return NamedFeatures(torch.cat(features).bfloat16(), torch.cat(covers), torch.cat(named))

    def _said(self, part: dict[str, Any]) -> str:
        return part["text"] if part["type"] == "text" else f"<{caption_of(part)}>"

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Greedy answers to held-out chats, judged exactly by what they say; those to a data set are only written."""
        if self.data is not None:
            rows = [(said, greedy(self.model, asked, media)) for asked, media, said in self.data.questions(24)]
            (folder / f"{step:07d}.txt").write_text("".join(f"wanted: {one}\nsaid:   {two}\n\n" for one, two in rows))
            return {}
        stream = random.Random("answers")
        right: dict[str, list[bool]] = {}
        lines = []
        for task in [task for task in self.mixture if task not in LONG] * 24:
            chat = sample_chat(stream, task, "heldout")
            text = answer(self.model, chat, self.senses)
            right.setdefault(task, []).append(answer_right(text.split(":", 1)[-1], chat.facts))
            asked = [part.get("text") or f"<{caption_of(part)}>" for part in chat.messages[0]["content"]]
            lines.append(f"{'ok ' if right[task][-1] else 'BAD'} {task}: {' '.join(asked)} -> {text}\n")
        (folder / f"{step:07d}.txt").write_text("".join(sorted(lines)))
        return {f"right_{task}": round(sum(marks) / len(marks), 3) for task, marks in sorted(right.items())}


def lies_on_patches(projector: nn.Module) -> bool:
    """Whether the projector's tokens are places of a medium; those of queries are words of its caption."""
    return not isinstance(projector, ResamplerProjector | BorrowedProjector | bridging.GatedProjector)


def padding_weights(mask: Tensor) -> Tensor:
    """What each token of a caption counts in the condition's distance, [captions, length]: all of the text fully, its
    padding, most of the tokens, a fifth of that. Of storyboards, [films, frames, 2, tokens], frame by frame."""
    if mask.ndim == 4:
        mask = mask.amax(2).flatten(1)
    return 0.2 + 0.8 * mask.float()


def _under(batch: Batch, prefix: str) -> Batch:
    """The entries of a batch whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in batch.items() if key.startswith(prefix)}


@torch.no_grad()
def answer(model: AnyGenModel, chat: Chat, senses: Mapping[str, Sense], tokens: int = 48) -> str:
    """The greedy answer to the chat's first turn, up to the first signal token."""
    asked = model.render(chat.messages[:1], answer=True)
    features = {}
    for modality, sense in senses.items():
        if parts := [part for part in asked.inputs if part["type"] == modality]:
            shown = {key: value.to(model.device) for key, value in sense.shown(parts).items()}
            features[modality] = model.encoders[modality](sense.features_of(shown))
    return greedy(model, asked, features, tokens)


@torch.no_grad()
def greedy(model: AnyGenModel, asked: Rendered, features: Mapping[str, Tensor], tokens: int = 48) -> str:
    """What the model says, up to the first signal token; `features` [n, tokens, width] are those of the media asked."""
    ids = torch.tensor([asked.ids], device=model.device)
    projected = {modality: model.project(modality, given) for modality, given in features.items()}
    inputs, at = model.embed(ids, projected), positions(torch.ones_like(ids))
    seen = bridging.held(model.input_projectors, ids, at, projected, model.vocabulary.spans)
    cache, said = None, list[int]()
    for _ in range(tokens):
        with bridging.seeing({modality: held.sight(at) for modality, held in seen.items()}):
            out = model.llm(inputs_embeds=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, at = out.past_key_values, at[:, -1:] + 1
        best = int(out.logits[0, -1].argmax())
        if not model.vocabulary.text[best]:
            break
        said.append(best)
        inputs = model.embed(torch.tensor([[best]], device=model.device))
    return model.tokenizer.decode(said).strip()


def adapt(llm: nn.Module, rank: int, alpha: int = 0, dropout: float = 0.0, matrices: Sequence[str] = MATRICES) -> Any:
    """The LLM with a fresh LoRA adapter (arXiv 2106.09685) on `matrices` of its blocks; the base is frozen.

    What it adds is scaled by `alpha` / `rank`; 0 is twice the rank.
    """
    from peft import LoraConfig, get_peft_model

    chosen = LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        lora_dropout=dropout,
        target_modules=list(matrices),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(llm, chosen)
