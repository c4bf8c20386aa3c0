"""Projectors: shapes, the order of merged patches, scale, and strict descriptions."""

from typing import Any

import pytest
import torch

from anygen.error import ModelError
from anygen.projectors import INPUT_PROJECTORS, OUTPUT_PROJECTORS, build, describe
from anygen.projectors.grouping import Grouping, GroupingConfig
from anygen.projectors.input import MlpConfig, ResamplerConfig, lend, merge_patches
from anygen.projectors.output import QueryConfig, QueryTransformer

INPUTS: dict[str, dict[str, Any]] = {
    "linear": {"tokens_in": 16, "width_in": 6, "width_out": 10},
    "mlp": {"tokens_in": 16, "width_in": 6, "width_out": 10, "hidden": 12, "merge": 2},
    "resampler": {"tokens_in": 16, "width_in": 6, "width_out": 10, "queries": 5, "width": 8, "heads": 2},
    "borrowed": {"lender": "image", "tokens_in": 16, "width_in": 6, "tokens": 16, "width_out": 10},
    "grouping": {"tokens_in": 16, "width_in": 6, "width_out": 10, "groups": (6, 5), "width": 8, "heads": 2},
}
OUTPUTS = {
    "linear": {"count": 3, "width_in": 10, "length": 7, "width_out": 6},
    "query": {"count": 3, "width_in": 10, "length": 7, "width_out": 6, "width": 8, "heads": 2, "feedforward": 16},
    "transformer": {
        "count": 3,
        "width_in": 10,
        "length": 7,
        "width_out": 6,
        "width": 8,
        "heads": 2,
        "feedforward": 16,
        "add_embeddings": False,
    },
}


@pytest.mark.parametrize("kind", sorted({*INPUT_PROJECTORS} - {"gated"}))  # tests/test_bridging.py has that one
def test_every_input_projector_keeps_its_promise(kind: str):
    projector = build(INPUT_PROJECTORS, {"type": kind, **INPUTS[kind]}, "here")
    lend({"here": projector, "image": build(INPUT_PROJECTORS, {"type": "linear", **INPUTS["linear"]}, "here")})
    out = projector(torch.randn(2, 16, 6))
    assert out.shape == (2, projector.tokens, 10)
    again = build(INPUT_PROJECTORS, describe(INPUT_PROJECTORS, projector), "here")
    assert again.config == projector.config
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in projector.parameters())


@pytest.mark.parametrize("kind", OUTPUT_PROJECTORS)
def test_every_output_projector_keeps_its_promise(kind: str):
    projector = build(OUTPUT_PROJECTORS, {"type": kind, **OUTPUTS[kind]}, "here")
    hidden = torch.randn(4, 3, 10)
    out = projector(hidden)
    assert out.shape == (4, 7, 6)
    assert not torch.allclose(out[:, 0], out[:, 1])  # queries are not born equal
    torch.testing.assert_close(projector(hidden[1:2]), out[1:2])
    assert set(dict(projector.named_buffers())) == {"condition_mean", "condition_std"}
    again = build(OUTPUT_PROJECTORS, describe(OUTPUT_PROJECTORS, projector), "here")
    assert again.config == projector.config


def test_every_feature_joins_one_group_and_gradients_are_those_of_the_softmax() -> None:
    stage = Grouping(width=2, heads=1, layers=1, groups=2)
    query, key = torch.eye(2)[None], torch.tensor([[[3.0, 0.0], [0.0, 1.0], [2.0, 1.0]]], requires_grad=True)
    joins = stage.choose(query, key)
    assert joins[0].tolist() == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    joins[0, 0].sum().backward()
    share = torch.sigmoid((key[0, :, 0] - key[0, :, 1]).detach() / 2**0.5)
    assert key.grad is not None
    torch.testing.assert_close(key.grad[0, :, 0], share * (1 - share) / 2**0.5)


def test_groups_do_not_depend_on_the_order_of_what_joins_them() -> None:
    torch.manual_seed(0)
    stage = Grouping(width=8, heads=2, layers=1, groups=3)
    features = torch.randn(2, 7, 8)
    torch.testing.assert_close(stage(features[:, torch.randperm(7)]), stage(features))
    with pytest.raises(ModelError, match=r"groups are \[4, 0\]; at least one stage of at least 1"):
        GroupingConfig(tokens_in=4, width_in=1, width_out=1, groups=(4, 0), width=8, heads=2)


def test_merging_takes_squares_row_by_row():
    grid = torch.arange(16.0).view(1, 16, 1)
    assert merge_patches(grid, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert merge_patches(grid, 1) is grid


def test_output_has_the_scale_of_the_conditions():
    projector: Any = build(OUTPUT_PROJECTORS, {"type": "query", **OUTPUTS["query"]}, "here")
    conditions = torch.randn(64, 7, 6) * torch.linspace(0, 30, 7).view(-1, 1) + 5
    projector.measure(conditions)
    torch.testing.assert_close(projector.condition_mean, conditions.mean(0))
    assert (projector.condition_std > 0).all()
    torch.testing.assert_close(projector.condition_std[1:], conditions.std(0)[1:])
    unit = projector.predict(torch.zeros(1, 3, 10))
    torch.testing.assert_close(
        projector(torch.zeros(1, 3, 10)), unit * projector.condition_std + projector.condition_mean
    )
    with pytest.raises(ModelError, match=r"\[1, 7, 6\]"):
        projector.measure(conditions[:1])


def test_signal_embeddings_are_added_only_if_asked():
    values = {"type": "query", **OUTPUTS["query"], "add_embeddings": True}
    projector = build(OUTPUT_PROJECTORS, values, "here")
    hidden, embeddings = torch.randn(2, 3, 10), torch.randn(3, 10)
    torch.testing.assert_close(projector(hidden, embeddings), projector(hidden + embeddings, torch.zeros(3, 10)))
    with pytest.raises(ModelError, match="none were given"):
        projector(hidden)


def test_descriptions_are_strict():
    with pytest.raises(ModelError, match="unknown key 'colour'"):
        build(INPUT_PROJECTORS, {"type": "linear", **INPUTS["linear"], "colour": 1}, "here")
    with pytest.raises(ModelError, match="missing key 'width_in'"):
        build(INPUT_PROJECTORS, {"type": "linear", "tokens_in": 1, "width_out": 1}, "here")
    with pytest.raises(ModelError, match="no projector type 'magic'; types are linear, mlp, resampler, borrowed"):
        build(INPUT_PROJECTORS, {"type": "magic"}, "here")
    with pytest.raises(ModelError, match="15 tokens are not a square grid"):
        MlpConfig(tokens_in=15, width_in=1, width_out=1, hidden=1, merge=2)
    with pytest.raises(ModelError, match="width 9 is not a multiple of heads 2"):
        ResamplerConfig(tokens_in=4, width_in=1, width_out=1, queries=1, width=9, heads=2)
    with pytest.raises(ModelError, match="count is 0"):
        QueryConfig(count=0, width_in=1, length=1, width_out=1)


def test_spread_reads_several_tokens_from_each_signal() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"count": 4, "width_in": 8, "width": 8, "heads": 2, "feedforward": 16, "encoder_layers": 1}
    query = QueryTransformer(QueryConfig(**sizes, length=12, width_out=6, decoder_layers=1, spread=3))
    assert query(torch.randn(5, 4, 8)).shape == (5, 12, 6)
    seen: list[torch.Tensor] = []
    query.encoder[0].register_forward_hook(lambda module, given, out: seen.append(given[0]))
    hidden = torch.randn(1, 4, 8)
    moved = hidden.clone()
    moved[:, 2] += 1  # signal 2 of 4 is tokens 2, 6 and 10 of the memory
    query(hidden), query(moved)
    changed = (seen[0] - seen[1]).abs().sum(-1)[0] > 0
    assert changed.nonzero().flatten().tolist() == [2, 6, 10]
    short = QueryTransformer(QueryConfig(**sizes, length=1, width_out=6, decoder_layers=1, spread=3))
    assert short(hidden).shape == (1, 1, 6)
    with pytest.raises(ModelError, match="spread"):
        QueryConfig(**sizes, length=12, width_out=6, decoder_layers=1, spread=0)


def test_of_several_moments_each_is_told_by_the_same_queries_and_may_be_asked_for_alone() -> None:
    values = OUTPUTS["query"] | {"length": 12, "moments": 4, "spread": 2}
    projector: Any = build(OUTPUT_PROJECTORS, {"type": "query", **values}, "here")
    assert projector.queries.shape == (3, 8) and projector.moments == 4
    projector.measure(torch.randn(5, 12, 6))
    hidden, asked = torch.randn(2, 3, 10), torch.tensor([3, 1])
    whole = projector(hidden)
    assert whole.shape == (2, 12, 6) and not torch.allclose(whole[:, :3], whole[:, 3:6])
    torch.testing.assert_close(projector(hidden, parts=asked), torch.cat([whole[:, 9:], whole[:, 3:6]], 1))
    weights = torch.arange(12.0)[None]
    assert projector.part(weights[..., None], asked)[0, :, 0].tolist() == [9, 10, 11, 3, 4, 5]
    projector(hidden).sum().backward()
    assert all(parameter.grad is not None for parameter in projector.parameters())
    with pytest.raises(ModelError, match="QueryConfig: length 12 is not a multiple of moments 5"):
        build(OUTPUT_PROJECTORS, {"type": "query", **values, "moments": 5}, "here")
