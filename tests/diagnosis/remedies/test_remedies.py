"""Every kind of change against a twin written by hand: the same losses, update by update."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.remedies.refused_cases import NOT_APPLICABLE, TESTED
from diagnosis.remedies.remedy_cases import (
    CASES,
    RELU,
    VALUES,
    WrongSwish,
    X,
    always_dropping,
    constant,
    experiment,
    functional,
    net,
    standard,
)
from pellucid.core.errors import ModelError, OptionError, PellucidError
from pellucid.core.records import Change
from pellucid.diagnosis.remedies import apply, kinds

STEPS = 8


@pytest.mark.parametrize("name", CASES)
def test_a_remedy_does_what_it_says(name: str) -> None:
    kind, values, before, by_hand = CASES[name]
    cured = apply(before, Change(kind=kind, values=values))
    mine, twin, unchanged = (one.run(3, steps=STEPS) for one in (cured, by_hand, before))
    assert mine.error is None
    assert mine.losses == pytest.approx(twin.losses, rel=1e-5)
    assert mine.losses != pytest.approx(unchanged.losses, rel=1e-5)  # and it is not what was before
    assert before.run(3, steps=STEPS).losses == pytest.approx(unchanged.losses, rel=0, abs=0, nan_ok=True)  # which is as it was


@pytest.mark.parametrize("name", TESTED)
def test_a_remedy_of_the_test_part_shows_in_the_score(name: str) -> None:
    kind, values, before, by_hand = TESTED[name]
    cured = apply(before, Change(kind=kind, values=values))
    mine, twin, unchanged = (one.run(3, steps=STEPS).moments[-1] for one in (cured, by_hand, before))
    assert mine.test_loss == pytest.approx(twin.test_loss, rel=1e-4)
    assert mine.test_score == twin.test_score
    assert mine.test_loss != pytest.approx(unchanged.test_loss, rel=1e-3)
    if kind != "follow_mode":
        assert mine.train_loss == unchanged.train_loss


def test_every_kind_has_a_case() -> None:
    assert {kind for kind, *_ in (*CASES.values(), *TESTED.values())} == set(kinds())


def test_reinitialise_default_draws_what_a_factory_set() -> None:
    before = experiment(constant)
    cured = apply(before, Change(kind="reinitialise", values={"scheme": "default", "names": ["0"]}))
    model, _ = cured.build(0)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert float(parameters["0.weight"].std()) > 0.1
    assert float(parameters["0.weight"].abs().max()) <= 1 / 6**0.5
    assert bool((parameters["2.weight"] == parameters["2.weight"][0, 0]).all())


def test_dropout_that_never_stops_stops_in_evaluation() -> None:
    before = experiment(always_dropping(True))
    cured = apply(before, Change(kind="train_mode"))
    assert cured.run(0, steps=STEPS).losses == before.run(0, steps=STEPS, score=False).losses
    model, _ = cured.build(0)
    other, _ = before.build(0)
    with torch.no_grad():
        assert torch.equal(model.eval()(X), experiment(always_dropping(False)).build(0)[0](X))
        assert not torch.equal(other.eval()(X), other(X))


def test_remedies_can_be_applied_one_after_the_other() -> None:
    before = experiment(net(nn.Sigmoid(), nn.Sigmoid(), last=(nn.Softmax(1),)), optimizer=lambda m: torch.optim.SGD(m.parameters(), 10.0))
    changes = (
        Change(kind="drop_output_activation"),
        Change(kind="learning_rate", values={"rate": 0.1}),
        Change(kind="replace_activation", values={"from": "sigmoid", "to": "relu"}),
    )
    cured = before
    for change in changes:
        cured = apply(cured, change)
    assert cured.run(0, steps=STEPS).losses == pytest.approx(experiment(RELU).run(0, steps=STEPS).losses, rel=1e-6)


def test_scores_stay_comparable() -> None:
    """Standardised targets are scored in the user's units, another loss by the same metric."""
    before = experiment(
        net(nn.ReLU(), outputs=1), F.mse_loss, VALUES, epochs=30, optimizer=lambda m: torch.optim.Adam(m.parameters(), 1e-2)
    )
    cured = apply(before, Change(kind="standardise_targets")).run(0)
    twin = experiment(
        net(nn.ReLU(), outputs=1), F.mse_loss, standard(VALUES), epochs=30, optimizer=lambda m: torch.optim.Adam(m.parameters(), 1e-2)
    ).run(0)
    assert cured.score == pytest.approx(twin.score, abs=1e-5)  # r2 does not depend on units
    assert cured.score > 0.9 > before.run(0).score
    scoring = apply(before, Change(kind="standardise_targets")).scoring
    assert scoring is not None
    assert scoring.restore is not None
    assert torch.allclose(scoring.restore(standard(VALUES)), VALUES, atol=1e-4)


@pytest.mark.parametrize("name", NOT_APPLICABLE)
def test_a_change_that_cannot_be_made_says_why(name: str) -> None:
    kind, values, before, said = NOT_APPLICABLE[name]
    with pytest.raises(PellucidError, match=said) as raised:
        apply(before, Change(kind=kind, values=values))
    assert isinstance(raised.value, (ModelError, OptionError))


def test_a_pass_with_another_number_of_calls_is_refused_while_it_runs() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs = self.linear(inputs)
            for _ in range(1 + int(len(inputs) < 16)):
                outputs = torch.relu(outputs) + 1
            return outputs

    cured = apply(experiment(Growing), Change(kind="replace_activation", values={"from": "relu", "to": "tanh", "position": 1}))
    trial = cured.run(0)
    assert isinstance(trial.error, ModelError)
    assert "one pass calls relu 2 times, another 1 times" in str(trial.error)


def test_what_is_changed_while_a_pass_runs_is_put_back_when_it_is_stopped() -> None:
    """Ctrl-C in the middle of a pass leaves no mode on torch's stack and no other method on the user's class."""

    def stopped(_: int, x: Tensor) -> Tensor:
        WrongSwish.apply(x)  # type: ignore[no-untyped-call]
        if going:
            return x
        raise KeyboardInterrupt

    going: list[bool] = [True]
    own = vars(WrongSwish)["forward"]
    for change in (Change(kind="differentiate"), Change(kind="insert_activation", values={"after": "one", "name": "relu"})):
        going[:] = [True]
        outputs = apply(experiment(functional(lambda p, x: WrongSwish.apply(stopped(p, x)))), change)  # type: ignore[no-untyped-call]
        model, _ = outputs.build(0)
        going.clear()
        with pytest.raises(KeyboardInterrupt):
            model(X)
        assert vars(WrongSwish)["forward"] is own
        assert not torch.overrides._get_current_function_mode_stack()


def test_a_copy_of_a_changed_model_runs_with_its_own_weights() -> None:
    cured = apply(experiment(net(nn.Tanh(), nn.Tanh())), Change(kind="replace_activation", values={"from": "tanh", "to": "relu"}))
    model, _ = cured.build(0)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        before = model(X)
        for parameter in twin.parameters():
            parameter.zero_()
        assert torch.equal(model(X), before)
        assert not bool(twin(X).any())


def test_a_gradient_of_a_gradient_goes_through_a_function_that_is_differentiated() -> None:
    cured = apply(experiment(functional(lambda _, x: WrongSwish.apply(x))), Change(kind="differentiate"))  # type: ignore[no-untyped-call]
    by_hand = experiment(functional(lambda _, x: x * torch.sigmoid(x)))
    penalties: list[Tensor] = []
    for one in (cured, by_hand):
        model, _ = one.build(0)
        inputs = X.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
        penalties.append(torch.autograd.grad(slope.square().sum(), model.get_parameter("one.weight"))[0])
    torch.testing.assert_close(penalties[0], penalties[1])
