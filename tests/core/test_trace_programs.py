"""Random programs of views, in-place writes and arithmetic: what the trace says each operation took and gave is what a plain run shows."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.errors import TraceError
from pellucid.core.trace import trace


class _Pool(list[Tensor]):
    """Tensors of shape (4, 4); `seen` gets the content of each at the moment a step takes it."""

    def __init__(self, tensors: list[Tensor], seen: list[Tensor] | None) -> None:
        super().__init__(tensors)
        self.seen = seen

    def pick(self, choose: random.Random) -> Tensor:
        picked = choose.choice(self)
        if self.seen is not None:
            self.seen.append(picked.detach().clone())
        return picked


# Each step takes square tensors (4, 4) from a pool and adds its result to the pool, or writes into one of them.
_Step = Callable[[_Pool, random.Random], Tensor]


def _write_columns(pool: _Pool, choose: random.Random) -> Tensor:
    target = pool.pick(choose)
    target[:, choose.randrange(4)] = pool.pick(choose)[0].clone()
    return target


def _write_through_data(pool: _Pool, choose: random.Random) -> Tensor:
    target = pool.pick(choose)
    target.data.add_(1)
    return target


def _write_without_gradient(pool: _Pool, choose: random.Random) -> Tensor:
    target = pool.pick(choose)
    with torch.no_grad():
        target.mul_(0.5)
    return target


def _write_to_part(pool: _Pool, choose: random.Random) -> Tensor:
    target = pool.pick(choose)
    part = target[choose.randrange(3) :, 1:3]
    part.sub_(1)
    return target


STEPS: list[_Step] = [
    lambda pool, choose: pool.pick(choose) + pool.pick(choose),
    lambda pool, choose: pool.pick(choose) @ pool.pick(choose) / 4,
    lambda pool, choose: pool.pick(choose).t(),
    lambda pool, choose: pool.pick(choose).reshape(16).view(4, 4),
    lambda pool, choose: pool.pick(choose).clone(),
    lambda pool, choose: pool.pick(choose).detach(),
    lambda pool, choose: pool.pick(choose)[torch.tensor([3, 1, 2, 0])],
    lambda pool, choose: pool.pick(choose).add_(1),
    lambda pool, choose: pool.pick(choose).copy_(pool.pick(choose).clone()),
    lambda pool, choose: pool.pick(choose).t_(),
    lambda pool, choose: torch.stack(list(torch.unbind(pool.pick(choose)))),
    lambda pool, choose: torch.cat([part * 2 for part in pool.pick(choose).chunk(2)]),
    lambda pool, choose: torch.add(pool.pick(choose).detach(), 1, out=torch.zeros(4, 4)),
    lambda pool, choose: nn.functional.relu(pool.pick(choose) * 1, inplace=True),
    lambda pool, choose: pool.pick(choose).expand(4, 4).contiguous(),
    lambda pool, choose: torch.vmap(lambda row: row.cumsum(0))(pool.pick(choose)),
    _write_columns,
    _write_through_data,
    _write_without_gradient,
    _write_to_part,
]  # fmt: skip


class _Program(nn.Module):
    """The same random program on every call."""

    def __init__(self, seed: int, seen: list[Tensor] | None = None) -> None:
        super().__init__()
        self.seed, self.seen, self.layer = seed, seen, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> list[Tensor]:
        choose = random.Random(self.seed)
        pool = _Pool([x, self.layer(x), x * 2], self.seen)
        for _ in range(12):
            pool.append(choose.choice(STEPS)(pool, choose))
        return list(pool)


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int) -> None:
    torch.manual_seed(seed)
    program, x = _Program(seed), torch.randn(4, 4)
    recorded = trace(program, x, loss=lambda pool: sum(tensor.square().sum() for tensor in pool), input_gradients=True)

    plain = _Program(seed, [])
    plain.load_state_dict(program.state_dict())
    for reference, expected in zip(recorded.outputs, plain(x.clone().requires_grad_().clone()), strict=True):
        assert torch.equal(recorded.tensor(reference), expected)
    taken = [recorded.tensor(reference) for operation in recorded.operations for reference in operation.inputs()]
    assert plain.seen
    for expected in plain.seen:  # what a step took in the plain run, an operation of the trace took
        assert any(content.shape == (4, 4) and torch.equal(expected, content) for content in taken)

    again = recorded.replay()
    assert all(torch.equal(first.tensor, second.tensor) for first, second in zip(recorded.values, again.values, strict=True))
    outcomes = []
    for attempt in (recorded, again):
        try:
            outcomes.append(attempt.gradients())
        except TraceError as error:  # the program itself is wrong: it wrote over what its gradient needs
            outcomes.append(str(error).split("[")[0])
    if isinstance(outcomes[0], str):
        assert outcomes[0] == outcomes[1]
        return
    assert outcomes[0].keys() == outcomes[1].keys()
    for reference, gradient in outcomes[0].items():
        torch.testing.assert_close(outcomes[1][reference], gradient, rtol=1e-5, atol=1e-5)  # sums in another order
    leaf = x.clone().requires_grad_()
    pool = plain(leaf.clone())
    sum(tensor.square().sum() for tensor in pool).backward()
    torch.testing.assert_close(outcomes[0][recorded.inputs], leaf.grad)
    torch.testing.assert_close(outcomes[0][recorded.parameters["layer.weight"]], plain.layer.weight.grad)
