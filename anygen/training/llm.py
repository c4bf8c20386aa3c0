"""nano's language model, trained from nothing on the playground's chats with every picture told in words."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.playground.chat import Chat
from anygen.playground.dialogue import FILM_MIXTURE, LONG, caption_of, in_words, sample_chat, tasks
from anygen.playground.reading import answer_right
from anygen.playground.sense_dialogue import SENSE_MIXTURE
from anygen.playground.slips import slipped
from anygen.signals import Vocabulary
from anygen.template import IGNORE, Rendered, render
from anygen.training.loop import Batch
from anygen.training.packing import pack
from anygen.training.recall import Recall
from anygen.training.tokenizer import SIGNALS

MIXTURE = {
    "draw": 20,
    "caption": 6,
    "vqa": 20,
    "pope": 18,
    "edit": 10,
    "world": 12,
    "sums": 10,
    "unknown": 7,
    "story": 4,
    "dialogue": 5,
    "hear": 5,
    "sound": 14,
    "sound_vqa": 14,
    "sound_pope": 8,
    "see": 4,
    "voice": 4,
    "both": 6,
    "repeat": 8,
    "belong": 6,
    "unheard": 4,
    "mixed": 4,
}
"""More of what is hard to learn from few tokens, such as comparing, and less of what is only copied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LLMSizes:
    """Widths of the Llama that nano uses."""

    width: int = 192
    depth: int = 5
    heads: int = 6
    inner: int = 512
    context: int = 1024


def build_llm(vocabulary: int, sizes: LLMSizes, tokenizer: Any) -> Any:
    """A `LlamaForCausalLM` with tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=sizes.width,
            intermediate_size=sizes.inner,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.heads,
            max_position_embeddings=sizes.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def answer_weights(spoken: Tensor, first: float = 4.0) -> Tensor:
    """One over the root of an answer's length for each of its tokens, so that a 'Yes' counts beside a story.

    The first token counts `first` times: what is decided there, as yes or no, the rest of an answer only spells out.
    `spoken` [rows, length] is 1 where the assistant speaks; answers are the runs of ones.
    """
    begins = spoken.clone()
    begins[:, 1:] = spoken[:, 1:] * (1 - spoken[:, :-1])
    run = (begins.flatten().cumsum(0) * spoken.flatten()).long()  # 0 where nobody speaks
    return run.bincount().float().rsqrt()[run].view_as(spoken) * (spoken + (first - 1) * begins * spoken)


class LLMStage(nn.Module):
    """Cross-entropy on what the assistant says, short answers as much as long ones, and a little on everything else.

    A share `slips` of what users say in training has small words left out, put in or exchanged: the families of
    sentences are small enough to be learnt by heart, and a sentence that is in none of them must still be understood.
    `recall` weighs a second task: the states at an answer's signal tokens tell the caption of what is to be made.
    """

    name = "llm"

    def __init__(
        self,
        tokenizer: Any,
        sizes: LLMSizes,
        length: int = 192,
        rest: float = 0.1,
        recall: float = 0.5,
        media: Collection[str] = ("image", "audio"),
        slips: float = 0.5,
    ) -> None:
        super().__init__()
        self.tokenizer, self.length, self.rest, self.slips = tokenizer, length, rest, slips
        every = MIXTURE | FILM_MIXTURE | SENSE_MIXTURE
        self.mixture = {task: weight for task, weight in every.items() if task in tasks(media)}
        self.llm = build_llm(len(tokenizer), sizes, tokenizer)
        self.vocabulary = Vocabulary.resolve(tokenizer, SIGNALS)
        self.recall_weight = recall
        self.recall = Recall(tokenizer, self.vocabulary, [m for m in media if m in SIGNALS], sizes.width)

    def render(self, chat: Chat, answer: bool = False) -> Rendered:
        return render(chat.messages, self.tokenizer, self.vocabulary, {}, answer=answer)

    def chat(self, stream: random.Random, split: str = "train") -> Chat:
        """A chat of the mixture with what is given told in words."""
        task = stream.choices(list(self.mixture), list(self.mixture.values()))[0]
        chat = sample_chat(stream, task, split)
        return in_words(slipped(chat, stream, self.slips) if split == "train" else chat)

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|llm")
        chats: list[Rendered] = []
        total = 0
        while total < 1.1 * size * self.length:
            chats.append(self.render(self.chat(stream)))
            total += len(chats[-1].ids)
        batch, _, outputs = pack(chats, size, self.length, self.vocabulary.pad)
        made = {m: [caption_of(part) for part in outputs if part["type"] == m] for m in self.recall.signals}
        targets = self.recall.targets({modality: texts for modality, texts in made.items() if texts})
        return batch | {f"told_{modality}": ids for modality, ids in targets.items()}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        ids, labels = batch["ids"], batch["labels"]
        hidden = self.llm.model(input_ids=ids, use_cache=False).last_hidden_state
        logits = self.llm.lm_head(hidden)[:, :-1].float()
        losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        spoken = (labels[:, 1:] != IGNORE).float()
        other = (ids[:, 1:] != self.vocabulary.pad).float() * (1 - spoken)
        weight = answer_weights(spoken)
        answer = (losses * weight).sum() / weight.sum().clamp_min(1e-6)
        given = (losses * other).sum() / other.sum().clamp_min(1)
        targets = {m: batch[f"told_{m}"] for m in self.recall.signals if f"told_{m}" in batch}
        recalled = self.recall(targets, ids, hidden, self.llm.lm_head.weight)
        weights = {name: 1.0 if name.startswith("_") else self.recall_weight for name in recalled}
        return {"answer": answer, "given": self.rest * given} | {n: weights[n] * loss for n, loss in recalled.items()}

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Greedy answers to held-out chats of one turn, judged exactly."""
        stream = random.Random("llm answers")
        right: dict[str, list[bool]] = {}
        lines = []
        while sum(map(len, right.values())) < 160:
            chat = self.chat(stream, "heldout")
            if len(chat.messages) != 2 or chat.task in LONG:
                continue
            text = self.answer(chat)
            right.setdefault(chat.task, []).append(answer_right(text, chat.facts))
            asked = " ".join(part["text"] for part in chat.messages[0]["content"])
            lines.append(f"{'ok ' if right[chat.task][-1] else 'BAD'} {chat.task}: {asked} -> {text}\n")
        (folder / f"{step:07d}.txt").write_text("".join(lines))
        total = [mark for marks in right.values() for mark in marks]
        figures = {task: round(sum(marks) / len(marks), 3) for task, marks in sorted(right.items())}
        return {"right": sum(total) / len(total)} | {f"right_{task}": value for task, value in figures.items()}

    def answer(self, chat: Chat, tokens: int = 48) -> str:
        """The greedy answer to the chat's first turn, up to the first signal token."""
        ids = render(chat.messages[:1], self.tokenizer, self.vocabulary, {}, answer=True).ids
        start = len(ids)
        device = self.llm.device
        cache, new = None, ids
        for _ in range(tokens):
            out = self.llm(input_ids=torch.tensor([new], device=device), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            best = int(out.logits[0, -1].argmax())
            if not self.vocabulary.text[best]:
                break
            ids.append(best)
            new = [best]
        return self.tokenizer.decode(ids[start:]).strip()
