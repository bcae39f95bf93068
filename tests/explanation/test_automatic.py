"""Which method "auto" takes, what it says about it, and how long work is told."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from explanation.explained_networks import ReusedReLU, Rounded, seeded, tabular
from pellucid.core.errors import OptionError
from pellucid.core.language import Text
from pellucid.explanation import explain as explaining
from pellucid.explanation.explain import MOST_SHAPLEY, reporter


def wide(columns: int) -> Any:
    torch.manual_seed(0)
    return pellucid.explain(nn.Linear(columns, 3).eval(), torch.randn(2, columns), data=torch.randn(20, columns))


@pytest.mark.parametrize(("columns", "method"), [(MOST_SHAPLEY, "shapley"), (MOST_SHAPLEY + 1, "integrated_gradients"), (1000, None)])
def test_wide_tables_take_a_method_that_they_can_pay(columns: int, method: str | None) -> None:
    found = wide(columns)
    assert found.method == (method or "integrated_gradients")
    assert found.spent.forward + found.spent.backward < 200_000
    assert ("too many passes" in str(found.notes)) == (found.method != "shapley")
    assert found.gap == pytest.approx(0, abs=0.01)


def test_wide_tables_without_gradients_are_ablated() -> None:
    class Steps(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x > 0).float().sum(1)

    found = pellucid.explain(Steps(), torch.randn(2, 200))
    assert found.method == "feature_ablation"
    assert 'method="shapley"' in str(found.notes)
    assert pellucid.explain(Rounded(), tabular()).method == "shapley"


def test_samples_are_refused_where_nothing_is_drawn() -> None:
    with pytest.raises(OptionError, match="the method is saliency, which draws nothing"):
        pellucid.explain(seeded(ReusedReLU), tabular(), method="saliency", samples=5)
    five, many = (pellucid.explain(seeded(ReusedReLU), tabular(), method="integrated_gradients", samples=n) for n in (5, 9))
    assert five.spent.backward < many.spent.backward


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clocked(monkeypatch: pytest.MonkeyPatch, times: list[float]) -> None:
    monkeypatch.setattr(explaining.time, "perf_counter", lambda: times.pop(0))


def test_long_work_is_told_in_a_terminal_and_its_line_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining.sys, "stderr", terminal := _Terminal())
    clocked(monkeypatch, [0.0, 2.0, 4.0, 20.0])
    tell = reporter(None)
    tell(10, 100)  # 18 seconds left
    assert terminal.getvalue() == "\rexplained 10 of 100, 18 s left"
    tell(20, 100)
    tell(100, 100)
    assert terminal.getvalue().endswith("\r")
    assert terminal.getvalue().split("\r")[-2].strip() == ""


@pytest.mark.parametrize(("times", "terminal"), [([0.0, 2.0], True), ([0.0, 2.0], False)])
def test_short_work_is_not_told(monkeypatch: pytest.MonkeyPatch, times: list[float], terminal: bool) -> None:
    stream = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(explaining.sys, "stderr", stream)
    clocked(monkeypatch, times)
    reporter(None)(90 if terminal else 1, 100)
    assert stream.getvalue() == ""


def test_every_part_of_the_work_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked(monkeypatch, [0.0, 50.0, 100.0, 101.0, 105.0])
    said: list[Text] = []
    tell = reporter(said.append)
    for done, total in ((50, 100), (100, 100), (1, 1000), (101, 1000)):
        tell(done, total)
    assert [str(one) for one in said] == ["explained 50 of 100, 50 s left", "explained 101 of 1000, 36 s left"]


def test_explain_reports_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_TELL_SECONDS", 0.0)
    said: list[Text] = []
    pellucid.explain(seeded(lambda: nn.Linear(40, 2)), torch.randn(200, 40), data=torch.randn(50, 40), progress=said.append)
    assert said
    assert all("left" in str(one) for one in said)
