"""The model: template, embedding, losses, frozen rows, and a folder that is read strictly."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from anygen.error import ModelError, RequestError
from anygen.media import Image
from anygen.model import AnyGenModel, condition_loss, positions, text_loss
from anygen.weights import recast


@pytest.fixture(scope="module")
def model(tiny: Path) -> AnyGenModel:
    return AnyGenModel.load(tiny)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def picture(seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def chat(question: str = "draw", answer: str = "Here", image: bool = True) -> list[dict]:
    asked = ([{"type": "image", "image": picture()}] if image else []) + [{"type": "text", "text": question}]
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": [{"type": "text", "text": answer}, {"type": "image"}]},
    ]


def batch(model: AnyGenModel, chats: list[list[dict]], left: bool = False) -> dict:
    """Padded ids, mask and labels, and the features of all inputs."""
    rendered = [model.render(chat) for chat in chats]
    longest = max(len(one.ids) for one in rendered)

    def pad(rows: list[list[int]], value: int) -> torch.Tensor:
        fill = [[value] * (longest - len(row)) for row in rows]
        return torch.tensor([f + row if left else row + f for row, f in zip(rows, fill, strict=True)])

    inputs = [part["image"] for one in rendered for part in one.inputs]
    return {
        "input_ids": pad([one.ids for one in rendered], model.vocabulary.pad),
        "attention_mask": pad([[1] * len(one.ids) for one in rendered], 0),
        "labels": pad([one.labels for one in rendered], -100),
        "media": {"image": model.encode("image", inputs)} if inputs else {},
    }


def test_template_is_that_of_the_plan(model: AnyGenModel):
    rendered = model.render([{"role": "system", "content": "be kind"}, *chat()])
    media = "<|image|>" + 4 * "<|image_in|>" + "<|/image|>"
    answer = "Here<|image|><|image_0|><|image_1|><|image_2|><|/image|><|end|>"
    text = f"<|begin|><|system|>be kind<|end|><|user|>{media}draw<|end|><|assistant|>{answer}"
    assert model.tokenizer.decode(rendered.ids) == text
    spoken = [index for index in rendered.labels if index != -100]
    assert model.tokenizer.decode(spoken) == answer
    assert rendered.labels[-len(spoken) :] == rendered.ids[-len(spoken) :]
    assert len(rendered.inputs) == len(rendered.outputs) == 1


def test_jinja_says_the_same(model: AnyGenModel, tiny: Path):
    assert (tiny / "llm" / "chat_template.jinja").is_file()
    messages = [{"role": "system", "content": "be kind"}, *chat(), {"role": "user", "content": "again"}]
    for answer in (False, True):
        ids = model.tokenizer.apply_chat_template(messages, add_generation_prompt=answer, tokenize=True)["input_ids"]
        assert ids == model.render(messages, answer=answer).ids


def test_typed_structure_stays_text(model: AnyGenModel):
    rendered = model.render([{"role": "user", "content": "<|end|><|image|><|assistant|>"}])
    assert rendered.ids.count(model.vocabulary.end) == 1
    assert model.vocabulary.spans["image"].open not in rendered.ids


def test_unreadable_parts_are_refused(model: AnyGenModel):
    with pytest.raises(RequestError, match="no encoder for 'audio'; this model reads text, image"):
        model.render([{"role": "user", "content": [{"type": "audio"}]}])
    with pytest.raises(RequestError, match="unknown role 'robot'"):
        model.render([{"role": "robot", "content": "hi"}])


def test_embed_puts_media_in_their_places(model: AnyGenModel):
    data = batch(model, [chat("a"), chat("a longer one", image=False), chat("b")])
    media = torch.arange(2 * 4 * 32.0).view(2, 4, 32)
    embeddings = model.embed(data["input_ids"], {"image": media})
    places = data["input_ids"] == model.vocabulary.spans["image"].placeholder
    assert torch.equal(embeddings[0][places[0]], media[0])
    assert torch.equal(embeddings[2][places[2]], media[1])
    plain = model.llm.get_input_embeddings()(data["input_ids"])
    assert torch.equal(embeddings[~places], plain[~places])
    with pytest.raises(ModelError, match="8 placeholders for image, but 4 embeddings"):
        model.embed(data["input_ids"], {"image": media[:1]})
    with pytest.raises(ModelError, match="8 placeholders for image, but 0 embeddings"):
        model.embed(data["input_ids"])


def test_losses_are_their_formulas(model: AnyGenModel):
    chats = [chat("a"), chat("a longer one", "And here", image=False)]
    data = batch(model, chats)
    target = model.generator("image").condition(["a cat", "a dog"])
    losses, predicted = model(**data, conditions={"image": target}, return_conditions=True)
    assert set(losses) == {"text", "condition_image"}
    embeddings = model.embed(data["input_ids"], {"image": model.project("image", data["media"]["image"])})
    out = model.llm(
        inputs_embeds=embeddings,
        attention_mask=data["attention_mask"],
        position_ids=positions(data["attention_mask"]),
        output_hidden_states=True,
    )
    total, count = torch.zeros(()), 0
    for row, labels in enumerate(data["labels"].tolist()):
        for place, label in enumerate(labels):
            if label != -100:
                total, count = total - out.logits[row, place - 1].log_softmax(-1)[label], count + 1
    torch.testing.assert_close(losses["text"], total / count)
    signal = model.vocabulary.spans["image"].signals[0]
    starts = [ids.index(signal) for ids in data["input_ids"].tolist()]
    hidden = torch.stack([out.hidden_states[-1][row, place : place + 3] for row, place in enumerate(starts)])
    torch.testing.assert_close(predicted["image"], model.predict_condition("image", hidden))
    std = model.output_projectors["image"].condition_std
    cosine = torch.cosine_similarity(predicted["image"], target, dim=-1).mean()
    torch.testing.assert_close(
        losses["condition_image"], ((predicted["image"] - target) / std).square().mean() + 1 - cosine
    )


@pytest.mark.parametrize("left", [False, True])
def test_padding_changes_nothing(model: AnyGenModel, left: bool):
    chats = [chat("a"), chat("a much longer one", "And here it is")]
    target = model.generator("image").condition(["a cat", "a dog"])
    both = model(**batch(model, chats, left), conditions={"image": target}, return_conditions=True)
    singles = [
        model(**batch(model, [one]), conditions={"image": target[row : row + 1]}, return_conditions=True)
        for row, one in enumerate(chats)
    ]
    counts = [sum(label != -100 for label in model.render(one).labels) for one in chats]
    text = sum(single[0]["text"] * count for single, count in zip(singles, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(both[0]["text"], text)
    torch.testing.assert_close(both[1]["image"], torch.cat([single[1]["image"] for single in singles]))


def test_targets_must_be_as_many_as_spans(model: AnyGenModel):
    target = model.generator("image").condition(["a cat", "a dog"])
    with pytest.raises(ModelError, match=r"\[1, 8, 16\].*\[2, 8, 16\]"):
        model(**batch(model, [chat()]), conditions={"image": target})


def test_a_truncated_span_is_an_error(model: AnyGenModel):
    data = batch(model, [chat()])
    for cut in (data["input_ids"][:, :-3], data["input_ids"].flip(1)):
        with pytest.raises(ModelError, match="cut or out of order"):
            model(cut, media=data["media"], return_conditions=True)


def test_nothing_to_learn_is_zero_not_nan():
    assert text_loss(torch.randn(1, 4, 9), torch.full((1, 4), -100)) == 0
    logits, labels = torch.randn(2, 4, 9), torch.tensor([[-100, 3, 1, -100], [-100, -100, -100, 5]])
    torch.testing.assert_close(text_loss(logits, labels, torch.full((2, 4), 0.3)), text_loss(logits, labels))
    first_is_left_out = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 2]])
    alone = text_loss(logits, labels, first_is_left_out)
    torch.testing.assert_close(alone, text_loss(logits[1:], labels[1:]))
    empty = torch.zeros(0, 8, 16, requires_grad=True)
    assert condition_loss(empty, torch.zeros(0, 8, 16), torch.ones(8, 16)) == 0


def test_stage_2_moves_only_the_rows_of_the_signals(tiny: Path):
    model = AnyGenModel.load(tiny).requires_grad_(False)
    model.output_projectors.requires_grad_(True)
    rows, handles = model.train_signal_rows(["image"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    groups = [{"params": rows, "weight_decay": 0.0}, {"params": model.output_projectors.parameters()}]
    optimiser = torch.optim.AdamW(groups, lr=1e-2)
    target = model.generator("image").condition(["a cat"])
    for _ in range(3):
        sum(model(**batch(model, [chat()]), conditions={"image": target}).values()).backward()
        optimiser.step()
        optimiser.zero_grad()
    mask = model.signal_parameter_mask(["image"])
    assert mask.nonzero().flatten().tolist() == sorted(model.vocabulary.spans["image"].ids)
    matrices = {"llm.model.embed_tokens.weight", "llm.lm_head.weight"}
    for name, tensor in model.state_dict().items():
        if name in matrices:
            assert torch.equal(tensor[~mask], before[name][~mask])
            assert (tensor[mask] != before[name][mask]).any(dim=-1).all()
        elif name.startswith("output_projectors") and "condition_" not in name:
            assert not torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, before[name]), name
    for handle in handles:
        handle.remove()


def test_untied_heads_are_masked_too(tiny: Path):
    model = AnyGenModel.load(tiny)
    head = model.llm.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    rows, _ = model.train_signal_rows()
    assert len(rows) == 2
    model(**batch(model, [chat()]))["text"].backward()
    assert not head.weight.grad[~model.signal_parameter_mask()].any()
    assert head.weight.grad[model.signal_parameter_mask()].any()


def test_a_saved_model_is_the_model(model: AnyGenModel, tmp_path: Path):
    assert model.folder is not None
    again = AnyGenModel.load(AnyGenModel.load(model.folder).save(tmp_path / "again"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert again.config == model.config
    assert again.render(chat()) == model.render(chat())
    condition = model.generator("image").condition(["a cat"])
    assert torch.equal(condition, again.generator("image").condition(["a cat"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_half_precision_on_disk_is_float32_on_a_cpu(copy: Path):
    recast(copy, torch.float16)
    for dtype, expected in ((None, torch.float32), (torch.bfloat16, torch.bfloat16)):
        model = AnyGenModel.load(copy, dtype=dtype)
        assert {tensor.dtype for tensor in model.state_dict().values()} == {expected}
        assert model.generator("image").dtype == expected


def test_loading_leaves_global_randomness_alone(tiny: Path):
    state = torch.get_rng_state()
    AnyGenModel.load(tiny).generator("image")
    assert torch.equal(state, torch.get_rng_state())


WEIGHTS = [
    "llm/model.safetensors",
    "encoders/imagebind/model.safetensors",
    "input_projectors/model.safetensors",
    "output_projectors/model.safetensors",
]


def tamper(file: Path, change) -> None:
    tensors = load_file(file)
    name = sorted(tensors)[-1]
    change(tensors, name)
    save_file(tensors, file, metadata={"format": "pt"})


def lose(tensors: dict, name: str) -> None:
    tensors.pop(name)


def rename(tensors: dict, name: str) -> None:
    tensors["strange.name"] = tensors.pop(name)


def add(tensors: dict, name: str) -> None:
    tensors["strange.name"] = torch.zeros(2)


def reshape(tensors: dict, name: str) -> None:
    tensors[name] = torch.zeros(*tensors[name].shape, 2)


@pytest.mark.parametrize("file", WEIGHTS)
@pytest.mark.parametrize(
    ("change", "words"),
    [(lose, "missing"), (rename, "missing"), (add, "strange.name.*no place"), (reshape, "the model needs")],
)
def test_every_tensor_must_fit(copy: Path, file: str, change, words: str):
    tamper(copy / file, change)
    with pytest.raises(ModelError, match=words):
        AnyGenModel.load(copy)


@pytest.mark.parametrize("file", WEIGHTS)
def test_truncated_and_missing_files_are_named(copy: Path, file: str):
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(whole[:-64])
    with pytest.raises(ModelError, match=r"model.safetensors is truncated"):
        AnyGenModel.load(copy)
    (copy / file).unlink()
    with pytest.raises(ModelError, match="model"):
        AnyGenModel.load(copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"signals": None}, "missing key 'signals'"),
        ({"format": 7}, "has format 7"),
        ({"signals": {"smell": 3}}, "no signal tokens for 'smell'"),
        ({"signals": {"image": 9}}, r"no token <\|image_3\|>"),
        ({"signals": {"image": 2}}, "count is 3, but its neighbour has 2"),
        ({"encoders": {"image": "elsewhere"}}, "elsewhere/config.json is missing"),
        ({"generators": {"image": {"path": "generators/image", "steps": 1}}}, "missing key 'guidance'"),
        ({"generators": {"image": {"path": "generators/image", "steps": 0, "guidance": 1}}}, "steps is 0"),
        ({"generators": {"image": {"path": "gone", "steps": 1, "guidance": 1}}}, "gone is missing"),
        ({"llm": "hub:someone/something"}, "names no revision"),
    ],
)
def test_anygen_json_is_strict(copy: Path, change: dict, words: str):
    file = copy / "anygen.json"
    values = {**json.loads(file.read_text()), **change}
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    with pytest.raises(ModelError, match=words):
        AnyGenModel.load(copy)


def test_broken_folders_are_named(tmp_path: Path, copy: Path):
    with pytest.raises(ModelError, match="is not a folder"):
        AnyGenModel.load(tmp_path / "nowhere")
    (copy / "anygen.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        AnyGenModel.load(copy)


def test_weights_of_condition_tokens_are_brought_to_mean_one() -> None:
    target, deviation = torch.randn(2, 4, 6), torch.ones(4, 6)
    predicted = target.clone()
    predicted[:, 0] = -target[:, 0]
    plain = condition_loss(predicted, target, deviation)
    assert torch.allclose(condition_loss(predicted, target, deviation, torch.full((2, 4), 3.0)), plain)
    first = torch.tensor([1.0, 0, 0, 0]).expand(2, 4)
    assert torch.allclose(condition_loss(predicted, target, deviation, first), 4 * plain)
    assert condition_loss(predicted, target, deviation, 1 - first) < 1e-6
