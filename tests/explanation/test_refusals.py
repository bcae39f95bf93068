"""What users do around a call: overwrite what they gave, work in other modes, give what does not fit. Nothing changes, or one sentence."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
import pandas
import polars
import pytest
import torch
from torch import Tensor, nn

import pellucid
from explanation.explained_networks import ReusedReLU, Words, seeded, tabular, tokens
from pellucid.core.errors import DataError, ModelError, OptionError
from pellucid.explanation.checks import plainly
from pellucid.explanation.faithfulness.score import correlation
from pellucid.explanation.faithfulness.sensitivity import max_sensitivity
from pellucid.explanation.subject import Subject

N = 4


class Scored(nn.Module):
    """Any function of a linear layer's scores."""

    def __init__(self, function: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.function, self.scores = function, nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.scores(x))


class Logarithm(nn.Module):
    """Defined on the inputs, not on the reference, where all is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x.abs())


class Named(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (3 * left).sum(1) + right.pow(2).sum(1)


def test_what_was_given_may_be_overwritten() -> None:
    given = {"inputs": tabular(), "data": tabular(5) + 1, "baseline": torch.full((5,), 0.3)}
    kept = copy.deepcopy(given)
    model = seeded(ReusedReLU)
    one, two = (pellucid.explain(model, x["inputs"], 0, data=x["data"], baseline=x["baseline"], method="saliency") for x in (given, kept))
    for tensor in given.values():
        tensor.fill_(7.0)
    assert one.certificate.to_dict()["scores"] == two.certificate.to_dict()["scores"]


@pytest.mark.parametrize("write", [lambda p: p.mul_(-1), lambda p: p[0, 0].add_(1), lambda p: p.copy_(p.flip(0)), lambda p: None])
def test_weights_written_past_the_version_counter_are_seen(write: Callable[[Tensor], Any]) -> None:
    model = seeded(ReusedReLU)
    subject = Subject.of(model, tabular())
    before = model.first.weight.detach().clone()
    write(model.first.weight.data)
    assert subject.weights_changed() == (not torch.equal(before, model.first.weight))


@pytest.mark.parametrize("row", [1, 30])
def test_a_sample_that_fails_later_is_refused_in_one_sentence(row: int) -> None:
    rows = tokens(40)
    rows[row, 2] = 99
    with pytest.raises(DataError, match="IndexError"):
        pellucid.explain(seeded(Words), rows)


class OfSize(nn.Module):
    """A network that takes batches of some sizes alone."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes, self.scores = sizes, nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) not in self.sizes:
            raise ValueError(f"batch must be {self.sizes[-1]}")
        return self.scores(x)


@pytest.mark.parametrize(
    ("sizes", "samples", "takes", "refuses"),
    [((4,), 4, 4, 1), ((3,), 3, 3, 1), ((1,), 1, 1, 3), ((1,), 2, 1, 3), ((1,), 4, 1, 4), ((1, 2), 4, 1, 4)],
)
def test_networks_of_one_batch_size_are_refused_for_that(sizes: tuple[int, ...], samples: int, takes: int, refuses: int) -> None:
    said = rf"takes a batch of {takes} and refuses one of {refuses}: ValueError: batch must be(?s:.)*other batch sizes than {takes}"
    with pytest.raises(ModelError, match=said):
        pellucid.explain(OfSize(*sizes), tabular(samples))


def test_inputs_that_do_not_fit_are_not_taken_for_a_batch_size() -> None:
    with pytest.raises(DataError, match=r"does not take inputs of shape \(4, 6\)"):
        pellucid.explain(OfSize(4), tabular(4, 6))


def test_attributions_by_name_are_matched_by_name() -> None:
    model, inputs = Named(), {"left": tabular(), "right": tabular(N) + 1}
    maps = {name: tabular(N) * factor for name, factor in (("left", 3), ("right", -1))}
    one, two = (pellucid.certify(model, inputs, given) for given in (maps, dict(reversed(maps.items()))))
    assert [score.value for score in one.scores] == [score.value for score in two.scores]
    with pytest.raises(DataError, match=r"left, rigth(?s:.)*left, right"):
        pellucid.certify(model, inputs, {"left": maps["left"], "rigth": maps["right"]})
    with pytest.raises(DataError, match="the inputs have none"):
        pellucid.certify(Scored(), tabular(), {"x": tabular()})


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift", "shapley"])
def test_attributions_that_are_not_finite_are_refused(method: str) -> None:
    with pytest.raises(ModelError, match="NaN or infinite"):
        pellucid.explain(Logarithm(), tabular(), 0, method=method, baseline="zero")


def test_the_sample_without_finite_attributions_is_named() -> None:
    inputs = tabular().abs() + 1
    inputs[2, 0] = 0  # where a square root has no finite derivative
    with pytest.raises(ModelError, match="1 of 4 samples, first for sample 2"):
        pellucid.explain(Root(), inputs, method="saliency")


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x).sum(1)


def _made() -> list[Any]:
    model, x = seeded(Scored), tabular(2)
    found = pellucid.explain(model, x, 0, method="integrated_gradients", data=tabular(5))
    best = pellucid.features(model, x, "scores").maximise(0, steps=2)
    return [
        found.attributions, [score.value for score in found.certificate.scores], pellucid.certify(model, x, x, 0).trust, best.inputs[0],
        torch.tensor(pellucid.importance(model, x, torch.arange(2), repeats=2).value),
    ]  # fmt: skip


_plain = cache(_made)


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)], ids=["inference", "no_grad", "autocast"]
)
def test_the_users_mode_changes_nothing(mode: Callable[[], AbstractContextManager[Any]]) -> None:
    with mode():
        found = _made()
    for one, two in zip(found, _plain(), strict=True):
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two
    with mode(), plainly():
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")


_OPTIONS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "method": ({"method": 3}, OptionError, "method is 3"),
    "no method": ({"method": None}, OptionError, "method is None"),
    "layer": ({"layer": 3}, OptionError, "layer is 3"),
    "seed": ({"seed": 2**63}, OptionError, "seed is 9223372036854775808"),
    "baseline None": ({"baseline": None}, DataError, "the baseline is a NoneType"),
    "baseline object": ({"baseline": object()}, DataError, "the baseline is a object"),
    "baseline dict": ({"baseline": {"x": torch.zeros(5)}}, DataError, "the inputs have none"),
    "baseline NaN": ({"baseline": float("nan")}, DataError, "the baseline"),
    "data words": ({"data": "train"}, DataError, r"the background \(data\) is a str"),
    "data number": ({"data": 3.0}, DataError, r"the background \(data\) has shape"),
    "features float": ({"features": np.zeros(5)}, OptionError, r"integers of shapes \(5,\)"),
    "features dict": ({"features": {}}, OptionError, "features is {}"),
}


@pytest.mark.parametrize(("options", "error", "said"), _OPTIONS.values(), ids=_OPTIONS)
def test_options_of_other_kinds(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        pellucid.explain(Scored(), tabular(), 0, **options)


def test_arrays_of_features_and_names_of_references() -> None:
    groups = np.array([0, 0, 1, 1, 1])
    one, two = (pellucid.explain(seeded(Scored), tabular(), 0, method="occlusion", features=x) for x in (groups, torch.from_numpy(groups)))
    assert torch.equal(one.attributions, two.attributions)
    inputs = {"left": tabular(), "right": tabular() + 1}
    references = {"right": torch.ones(5), "left": torch.zeros(5)}
    found = pellucid.explain(Named(), inputs, method="integrated_gradients", baseline=references)
    torch.testing.assert_close(found.attributions[0], 3 * tabular())
    with pytest.raises(DataError, match="left, right, the names of the inputs"):
        pellucid.explain(Named(), inputs, baseline={"left": torch.zeros(5)})


_IMPORTANCE: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    **{f"samples {value!r}": ({"samples": value, "method": "shapley"}, OptionError, "samples is") for value in (0, -1, 2.5, "a", True)},
    **{f"repeats {value!r}": ({"repeats": value}, OptionError, "repeats is") for value in (0, -1, 2.5, "a", True)},
    "targets words": ({"targets": ["a"] * N}, DataError, "targets are no numbers"),
    "targets 0-d": ({"targets": torch.tensor(1)}, DataError, "one for each of the 4"),
    "targets NaN": ({"targets": torch.full((N, 3), torch.nan)}, DataError, "NaN"),
    "metric number": ({"metric": 3}, OptionError, "metric is 3"),
    "metric that fails": ({"metric": lambda o, t: o @ t}, OptionError, "metric failed"),
    "metric of NaN": ({"metric": lambda o, t: o[:, 0] * torch.nan}, OptionError, "NaN or infinite scores"),
    "data": ({"data": tabular()}, OptionError, "there is a data"),
    "baseline": ({"baseline": "zero"}, OptionError, "there is a baseline"),
    "seed": ({"seed": 2**63}, OptionError, "seed is"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "error", "said"), _IMPORTANCE.values(), ids=_IMPORTANCE)
def test_importance_checks_what_it_is_given(options: dict[str, Any], error: type[Exception], said: str) -> None:
    targets = None if options.get("method") == "shapley" else torch.arange(N) % 3
    with pytest.raises(error, match=said):
        pellucid.importance(Scored(), tabular(), **{"targets": targets, **options})


class Careless(nn.Module):
    """Writes into its input, counts, and draws from every generator, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.calls, self.seen = nn.Linear(5, 3), 0, []
        self.register_buffer("total", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(len(x))
        self.total = self.total + 1
        random.random()
        np.random.rand()
        return self.first(x.mul_(2)) + torch.rand(1)


@pytest.mark.parametrize("given", [lambda x: x, lambda x: x.numpy(), lambda x: {"x": x}], ids=["tensor", "array", "dict"])
def test_features_run_on_a_copy(given: Callable[[Tensor], Any]) -> None:
    model, x = Careless().train(), tabular()
    before, drawn = x.clone(), (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    found = pellucid.features(model, given(x), "first")
    found.maximise(0, steps=2)
    assert (model.calls, model.seen, float(model.total), model.training) == (0, [], 0.0, True)
    assert torch.equal(x, before)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == drawn
    torch.testing.assert_close(found.maps, model.first(2 * before).detach())


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.zeros(4, 6), "does not take inputs of shape"),
        (torch.zeros(4, 5, dtype=torch.uint8), "does not take inputs of shape"),
        ({"y": torch.zeros(4, 5)}, "inputs have the names y(?s:.)*forward's parameters: x"),
    ],
)
def test_features_of_inputs_that_do_not_fit(inputs: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        pellucid.features(Scored(), inputs, "scores")


_UNUSABLE: dict[str, tuple[nn.Module, Tensor, type[Exception], str]] = {
    "integers": (Scored(lambda y: y.long()), tabular(), ModelError, "dtype torch.int64"),
    "truth values": (Scored(lambda y: y > 0), tabular(), ModelError, "dtype torch.bool"),
    "complex": (Scored(lambda y: y.to(torch.complex64)), tabular(), ModelError, "dtype torch.complex64"),
    "nothing": (Scored(lambda y: y[:, :0]), tabular(), ModelError, r"output has shape \(1, 0\)"),
    "one axis": (Scored(), torch.ones(5), DataError, r"shape \(5,\)(?s:.)*\(N, 5\)(?s:.)*give a single sample its sample axis"),
    "a column less": (Scored(), torch.ones(3, 4), DataError, r"shape \(3, 4\)(?s:.)*\(N, 5\): the first layer takes 5 numbers"),
    "no entries": (Logarithm(), torch.ones(5, 0), DataError, r"shape \(5, 0\)"),
    "sparse": (Scored(), tabular().to_sparse(), DataError, "layout torch.sparse_coo"),
    "meta inputs": (Scored(), torch.zeros(4, 5, device="meta"), DataError, "an input is on the meta device"),
    "meta network": (nn.Linear(5, 3, device="meta"), tabular(), ModelError, "the network is on the meta device"),
}  # fmt: skip


@pytest.mark.parametrize(("model", "inputs", "error", "said"), _UNUSABLE.values(), ids=_UNUSABLE)
def test_networks_and_inputs_that_cannot_be_explained(model: nn.Module, inputs: Tensor, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        pellucid.explain(model, inputs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_evaluated_and_differentiated_and_has_no_layers() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))).eval()
    frozen = torch.jit.freeze(torch.jit.script(model))
    one, two = (pellucid.explain(made, tabular(), 0, method="integrated_gradients").attributions for made in (model, frozen))
    torch.testing.assert_close(one, two)
    for made in (frozen, torch.jit.trace(model, tabular())):
        with pytest.raises(OptionError, match="TorchScript"):
            pellucid.features(made, tabular(), "0")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, inputs = seeded(Scored), tabular()
    exact = pellucid.explain(model, inputs, 0, method="integrated_gradients").attributions
    found = pellucid.explain(copy.deepcopy(model).to(dtype), inputs.to(dtype), 0, method="integrated_gradients")
    assert not found.evidence.subject.random
    torch.testing.assert_close(found.attributions.float(), exact, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("scale", [1e-35, 1e30])
def test_the_scale_of_a_map_decides_nothing_but_its_own_score(scale: float) -> None:
    model, x = seeded(lambda: nn.Linear(6, 2)), torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    right = (model.weight[0] * x).detach()
    one, two = (pellucid.certify(model, x, right * factor, 0, baseline="zero") for factor in (1.0, scale))
    assert one.score("infidelity").value == pytest.approx(two.score("infidelity").value, abs=1e-5)
    assert one.score("share_explained").value == pytest.approx(two.score("share_explained").value, abs=1e-5)
    assert (one.trust, two.trust) == ("high", "limited")  # proportions alone can be trusted
    assert one.score("scale").passed
    assert not two.score("scale").passed
    other = right + 0.1
    assert float(correlation(right * scale, other).mean()) == pytest.approx(float(correlation(right, other).mean()), abs=1e-5)
    expected = max_sensitivity(right, other[None])
    torch.testing.assert_close(max_sensitivity(right * scale, other[None] * scale), expected, rtol=1e-4, atol=0, check_dtype=False)


@pytest.mark.parametrize(("tokens", "words"), [(torch.zeros(1, 6), "inputs.long"), (torch.full((1, 6), 40), "tokens from 0 to 8")])
def test_tokens_of_another_type_or_vocabulary(tokens: Tensor, words: str):
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 2))
    with pytest.raises(DataError, match=words):
        pellucid.explain(model, tokens)


class OneNumber(nn.Module):
    """Takes one number per sample, (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 1
        return self.layers(x[:, None])


class Pairs(nn.Module):
    """Two indices per sample, (N,) each, as recommenders take them."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(9, 3), nn.Embedding(7, 3)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return (self.users(user) * self.items(item)).sum(1)


def test_one_number_per_sample() -> None:
    model, x, background = seeded(OneNumber), torch.tensor([-1.0, 0.5, 2.0]), torch.linspace(-2, 2, 9)
    found = pellucid.explain(model, x, 0, data=background)
    outputs = model(x)[:, 0] - model(background)[:, 0].mean()
    torch.testing.assert_close(found.attributions, outputs.detach())
    assert found.interval[0].shape == x.shape
    assert pellucid.certify(model, x, found.attributions, 0).trust in ("limited", "none")  # one feature: nothing to compare it with
    with pytest.raises(DataError, match=r"shape \(3, 2\)(?s:.)*\(3, 1\)"):
        pellucid.certify(model, x, torch.zeros(3, 2), 0)


def test_one_index_per_sample() -> None:
    model, pair = seeded(Pairs), (torch.tensor([3, 1]), torch.tensor([6, 2]))
    user, item = pellucid.explain(model, pair, method="input_x_gradient").attributions
    torch.testing.assert_close(user, model(*pair).detach())  # linear in each of its factors
    torch.testing.assert_close(item, model(*pair).detach())


@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_tables_in_the_types_in_which_people_have_them(kind: str) -> None:
    rows = tabular(6).double().numpy()
    names = ["a", "b", "c", "d", "e"]
    frames = {
        "array": lambda: rows,
        "pandas": lambda: pandas.DataFrame(rows, columns=names),
        "polars": lambda: polars.DataFrame(rows, names),
    }
    given = frames[kind]()
    model = seeded(ReusedReLU)
    found = pellucid.explain(model, given[:2], 0, data=given)
    expected = pellucid.explain(model, tabular(6)[:2], 0, data=tabular(6))
    torch.testing.assert_close(found.attributions, expected.attributions)
    assert "torch.float64" in " ".join(map(str, found.notes))
    assert found.evidence.players.names == (None if kind == "array" else tuple(names))
    assert pellucid.features(model, given, "first").maps.dtype == torch.float32
    whole = (9 * rows).astype(int)
    one, two = (pellucid.explain(model, table, 0, data=table).attributions for table in (whole, whole.astype("float32")))
    torch.testing.assert_close(one, two)


def test_columns_that_are_no_numbers_are_named() -> None:
    frame = pandas.DataFrame({"age": [1.0, 2.0], "city": ["Ulm", "Bern"], "debt": [True, None], "old": [True, False], "height": [1, 2]})
    with pytest.raises(DataError, match=r"have gaps: city, debt\n"):
        pellucid.explain(Scored(), frame)
    assert pellucid.explain(seeded(lambda: nn.Linear(3, 2)), frame[["age", "old", "height"]]).attributions.shape == (2, 3)


def test_a_type_that_is_taken_stays() -> None:
    class Precise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            assert x.dtype == torch.float64
            return self.last((x * (1 + 1e-12)).float())

    found = pellucid.explain(Precise(), tabular().double(), method="saliency")
    assert found.attributions.dtype == torch.float64
    assert "float64" not in " ".join(map(str, found.notes))


def test_what_is_absent_is_said_of_numbers_and_of_tokens() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.last = nn.Embedding(9, 3), nn.Linear(8, 2)

        def forward(self, numbers: Tensor, token: Tensor) -> Tensor:
            return self.last(torch.cat([numbers, self.embed(token)], 1))

    found = pellucid.explain(seeded(Both), (tabular(), torch.tensor([0, 1, 2, 3])), 0, baseline="zero", method="saliency")
    assert str(found.reference) == "zero in every entry; of whole numbers: token 0 in every place"
