"""The language model's signals tell their caption: which signal tells which token, and that it can be learnt."""

from pathlib import Path

import pytest
import torch
from torch import nn

from anygen.error import RequestError
from anygen.generators.video import FilmOptions, VideoGenerator
from anygen.model import AnyGenModel, condition_loss
from anygen.playground.dialogue import caption_of
from anygen.projectors.output import QueryConfig, QueryTransformer
from anygen.signals import Vocabulary
from anygen.testing import tiny_model
from anygen.training.features import FeaturesStage, pooled
from anygen.training.llm import LLMSizes, LLMStage, answer_weights
from anygen.training.packing import pack
from anygen.training.recall import Recall
from anygen.training.states import StatesStage
from anygen.training.tokenizer import SIGNALS, train_tokenizer

TOKENIZER = train_tokenizer(600, iter(["the sound of a dog, twice, fast", "a small dog left of a large cat, sea"] * 20))


def test_signals_tell_their_tokens_in_turn_and_span_by_span() -> None:
    vocabulary = Vocabulary.resolve(TOKENIZER, SIGNALS)
    size = len(TOKENIZER)
    recall = Recall(TOKENIZER, vocabulary, ["image", "audio"], width=size)
    texts = ["a small dog left of a large cat, sea", "a cat, sea"]
    targets = recall.targets({"image": texts})
    assert (targets["image"][1] == -100).sum() > (targets["image"][0] == -100).sum() > 0
    signals = vocabulary.spans["image"].signals
    other = vocabulary.spans["audio"].signals
    ids = torch.tensor([[5, *signals, 6, *other], [*signals, *other, 5, 6]])
    hidden = torch.zeros(2, ids.shape[1], size)
    per = targets["image"].shape[1] // len(signals)
    with torch.no_grad():  # each head shows its own share of the state: states that hold one token tell it
        head = nn.Linear(size, per * size, bias=False)
        recall.heads["image"] = head
        for share in range(per):
            head.weight[share * size : (share + 1) * size] = torch.eye(size) * (share == 0)
        for row in range(2):
            start = ids[row].tolist().index(signals[0])
            for place in range(len(signals)):
                hidden[row, start + place, targets["image"][row, place].clamp_min(0)] = 20
        told = recall.logits("image", ids, hidden, torch.eye(size)).argmax(-1)
    first = targets["image"][:, : len(signals)]
    assert torch.equal(told[:, : len(signals)][first >= 0], first[first >= 0])


def test_the_language_model_learns_to_recall_what_is_to_be_made() -> None:
    torch.manual_seed(0)
    stage = LLMStage(TOKENIZER, LLMSizes(width=64, depth=1, heads=2, inner=64), length=160)
    batch = stage.prepare(0, 2, 0)
    rng = torch.Generator()
    optimizer = torch.optim.AdamW(stage.parameters(), lr=5e-3)
    seen = []
    for _ in range(25):
        losses = stage(batch, rng)
        sum(loss for name, loss in losses.items() if not name.startswith("_")).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append({name: float(loss.detach()) for name, loss in losses.items()})
    told = [name for name in losses if name.startswith("recall_")]
    assert told and all(seen[-1][name] < 0.5 * seen[0][name] for name in told)
    assert all(0 <= row[f"_recalled_{name[7:]}"] <= 1 for row in seen for name in told)


def test_short_answers_and_their_first_tokens_count_more() -> None:
    spoken = torch.tensor([[0, 1, 1, 1, 1, 0, 1, 0.0], [0, 0, 1, 1, 0, 0, 0, 0]])
    weights = answer_weights(spoken, first=3)
    assert weights[0].tolist() == [0, 1.5, 0.5, 0.5, 0.5, 0, 3, 0]
    torch.testing.assert_close(weights[1], torch.tensor([0, 0, 3, 1, 0, 0, 0, 0]) / 2**0.5)


def test_a_batch_tells_the_captions_of_the_spans_that_it_holds() -> None:
    stage = LLMStage(TOKENIZER, LLMSizes(width=32, depth=1, heads=2, inner=32), length=160)
    for step in range(4):
        batch = stage.prepare(step, 2, 0)
        for modality, span in stage.vocabulary.spans.items():
            spans = int((batch["ids"] == span.signals[0]).sum())
            assert len(batch.get(f"told_{modality}", ())) == spans


def test_packing_keeps_chats_whole_and_their_media_in_order() -> None:
    stage = LLMStage(TOKENIZER, LLMSizes(width=32, depth=1, heads=2, inner=32))
    import random

    stream = random.Random(3)
    chats = [stage.render(stage.chat(stream)) for _ in range(12)]
    longest = max(len(chat.ids) for chat in chats)
    batch, _, outputs = pack(chats, 3, longest + 40, stage.vocabulary.pad)
    rows = [[i for i in row.tolist() if i != stage.vocabulary.pad] for row in batch["ids"]]
    left = list(chats)
    found = []
    for row in rows:
        while row:
            chat = next(c for c in left if row[: len(c.ids)] == c.ids)
            left.remove(chat)
            row = row[len(chat.ids) :]
            found += [caption_of(part) for part in chat.outputs]
    assert [caption_of(part) for part in outputs] == found


def test_stage_two_learns_from_states_that_are_made_once(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", context=4096, media=("image", "audio")))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stage = StatesStage("stage2", model, {"draw": 1, "sound": 1}, pool=24, length=600)
    made = []
    model.llm.register_forward_pre_hook(lambda *_: made.append(1))
    optimizer = torch.optim.AdamW([p for p in stage.parameters() if p.requires_grad], lr=3e-3)
    seen = []
    for step in range(12):
        losses = stage(stage.prepare(0, 6, 0), torch.Generator())
        assert set(losses) == {"condition_image", "condition_audio"}
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(sum(float(loss.detach()) for loss in losses.values()))
        if step == 0:
            calls = len(made)
    assert seen[-1] < 0.9 * seen[0] and len(made) == calls > 0
    changed = {n.split(".")[0] for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"output_projectors"}
    again = StatesStage("stage2", model, {"draw": 1, "sound": 1}, pool=24, length=600).states("train", 24)
    for modality, pool in stage.pool.items():
        assert torch.equal(pool.hidden, again[modality].hidden) and pool.captions == again[modality].captions
        assert len(pool.hidden) == len(pool.conditions) == len(pool.captions) == len(pool.weights)


def test_stage_two_asks_for_some_moments_of_a_film_at_a_time(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", context=4096, media=("image", "video"))
    model = AnyGenModel.load(folder)
    film = VideoGenerator(model.generator("video").pipeline, FilmOptions(storyboards=True))
    whole = film.coded
    film.coded = lambda texts: whole([text.split("|")[0] for text in texts])  # type: ignore[method-assign]
    del model.output_projectors["video"]
    model.generators["video"] = film
    length, width = film.condition_shape
    assert (length, film.moments) == (32, 4)
    model.output_projectors["video"] = QueryTransformer(
        QueryConfig(
            count=4,
            width_in=32,
            length=length,
            width_out=width,
            moments=4,
            width=16,
            heads=2,
            feedforward=32,
            encoder_layers=1,
            decoder_layers=1,
        )
    )
    stage = StatesStage("stage2", model, {"draw": 1, "film": 1}, pool=24, length=600)
    batch = stage.prepare(0, 5, 0) | {"video/parts": torch.tensor([2, 0])}
    losses = stage(batch, torch.Generator())
    pool, rows = stage.pool["video"], (batch["video"] * len(stage.pool["video"].hidden)).long()
    predicted = model.predict_condition("video", pool.hidden[rows].float())
    chosen = [*range(16, 24), *range(8)]
    expected = condition_loss(
        predicted[:, chosen],
        pool.conditions[rows][:, chosen].float(),
        model.output_projectors["video"].condition_std[chosen],
        pool.weights[rows][:, chosen],
    )
    torch.testing.assert_close(losses["condition_video"], expected)
    drawn = stage.prepare(1, 5, 0)["video/parts"].tolist()
    assert sorted(drawn) == [0, 1, 2, 3]  # four of the moments there are, each once


def test_stage_one_learns_captions_from_features_that_are_made_once(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", context=4096, media=("image", "audio")))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stage = FeaturesStage("stage1", model, pool=32, fresh=0).train()
    made = []
    model.encoders["image"].register_forward_pre_hook(lambda *_: made.append(1))
    optimizer = torch.optim.AdamW([p for p in stage.parameters() if p.requires_grad], lr=1e-2)
    seen = []
    for _ in range(25):
        losses = stage(stage.prepare(0, 8, 0), torch.Generator())
        total = sum(loss for name, loss in losses.items() if not name.startswith("_"))
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(float(total.detach()))
    assert seen[-1] < 0.8 * seen[0] and len(made) == 1
    changed = {n.split(".")[0] for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"input_projectors"}
    for modality, pool in stage.pool.items():
        assert pool.ids.shape == (32, model.input_projectors[modality].tokens)
        assert model.tokenizer.decode(pool.ids[0]).strip().startswith("[")
    figures = stage.sample(tmp_path, 1)
    assert set(figures) == {"told_image", "told_audio"} and all(0 <= value <= 1 for value in figures.values())


def test_what_stage_one_hides_is_another_share_every_time(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", media=("image",)))
    stage = FeaturesStage("stage1", model, pool=16, fresh=0, hidden=0.25).train()
    seen = []
    model.input_projectors["image"].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for seed in (0, 0, 1):
        stage(stage.prepare(0, 8, 0), torch.Generator().manual_seed(seed))
    stage.sample(tmp_path, 0)
    gone = [(features == 0).all(-1) for features in seen]
    assert torch.equal(gone[0], gone[1]) and not torch.equal(gone[0], gone[2])
    assert 0.15 < float(torch.cat(gone[:3]).float().mean()) < 0.35 and not gone[3].any()
    for share in (1.0, -0.1):
        with pytest.raises(RequestError, match=f"hidden={share:g} is a share of the features"):
            FeaturesStage("stage1", model, pool=16, hidden=share)


def test_the_pool_is_renewed_and_a_resumed_run_finds_it_as_it_was(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", media=("image", "audio")))
    stage = FeaturesStage("stage1", model, pool=10, fresh=4).train()
    held = []
    for step in range(7):
        stage(stage.prepare(step, 2, 0), torch.Generator())
        held.append({modality: (pool.features.clone(), pool.ids.clone()) for modality, pool in stage.pool.items()})
        numbers = pooled(10, 4, step)
        assert sorted(numbers) == list(range(4 * step, 10 + 4 * step))  # the newest ten, whoever counts
    assert not torch.equal(held[0]["audio"][0], held[1]["audio"][0])
    for step in (0, 3, 6):
        again = FeaturesStage("stage1", model, pool=10, fresh=4).train()
        again(again.prepare(step, 2, 0), torch.Generator())
        for modality, pool in again.pool.items():
            assert torch.equal(pool.ids, held[step][modality][1])
            torch.testing.assert_close(pool.features.float(), held[step][modality][0].float(), atol=0.05, rtol=0.05)
    with pytest.raises(RequestError, match="a pool of 10 media cannot take 11"):
        FeaturesStage("stage1", model, pool=10, fresh=11)
