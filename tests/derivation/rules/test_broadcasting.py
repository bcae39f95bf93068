"""Rules of several tensors on shapes that nobody thought of: any two that broadcast, sizes 0 and 1 among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from derivation.rules.checking import calls, check

SHAPES = mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3)
TWO = {
    **{name: getattr(torch, name) for name in ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "fmax", "fmin", "hypot", "atan2")},
    **{
        name: getattr(torch, name) for name in ("logaddexp", "logaddexp2", "xlogy", "copysign", "ldexp", "fmod", "remainder", "float_power")
    },
    "rsub": torch.rsub,
    "mse_loss": torch.nn.functional.mse_loss,
    "huber_loss": torch.nn.functional.huber_loss,
    "smooth_l1_loss": torch.nn.functional.smooth_l1_loss,
    "eq": torch.eq,
    "lt": torch.lt,
}


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Positive numbers, no two of one tensor equal."""
    generator = np.random.default_rng(seed)
    return torch.tensor(generator.uniform(0.2, 2.0, shape), requires_grad=True)


def holds(function, args, **kwargs) -> None:
    for call in calls(function, args, kwargs):
        if call.rule is not None:
            forward, backward, _ = check(call)
            assert forward <= 1e-12
            assert backward <= 1e-9


@pytest.mark.parametrize("name", TWO)
@settings(max_examples=15)
@given(shapes=SHAPES)
def test_two_tensors(name: str, shapes) -> None:
    holds(TWO[name], tuple(drawn(shape, seed) for seed, shape in enumerate(shapes.input_shapes)))


@pytest.mark.parametrize("name", ["where", "addcmul", "addcdiv", "lerp"])
@settings(max_examples=15)
@given(shapes=mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))
def test_three_tensors(name: str, shapes) -> None:
    first, *others = (drawn(shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    holds(getattr(torch, name), ((first > 1) if name == "where" else first, *others))


@settings(max_examples=40)
@given(
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=1, max_side=3),
    sizes=st.tuples(*[st.integers(0, 3)] * 3),
)
def test_matmul(shapes, sizes: tuple[int, int, int]) -> None:
    n, k, m = sizes
    first, second = shapes.input_shapes
    holds(torch.matmul, (drawn((*first, n, k), 0), drawn((*second, k, m), 1)))


@settings(max_examples=40)
@given(
    batch=st.integers(0, 2), groups=st.integers(1, 2), channels=st.integers(1, 2), outputs=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)), dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias=st.booleans(), more=st.tuples(st.integers(0, 4), st.integers(0, 4)), transposed=st.booleans(),
)  # fmt: skip
def test_convolution(batch, groups, channels, outputs, kernel, stride, padding, dilation, bias, more, transposed) -> None:
    size = [max(d * (k - 1) + 1 - 2 * p, 1) + extra for k, d, p, extra in zip(kernel, dilation, padding, more, strict=True)]
    if transposed and any(
        (s - 1) * t - 2 * p + d * (k - 1) + 1 < 1 for s, t, p, d, k in zip(size, stride, padding, dilation, kernel, strict=True)
    ):
        return  # an output without entries
    x = drawn((batch, groups * channels, *size), 0)
    weight = drawn((groups * channels, outputs, *kernel) if transposed else (groups * outputs, channels, *kernel), 1)
    function = torch.nn.functional.conv_transpose2d if transposed else torch.nn.functional.conv2d
    holds(
        function,
        (x, weight, drawn((groups * outputs,), 2) if bias else None),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


@settings(max_examples=40)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)), ceil_mode=st.booleans(), counted=st.booleans(), average=st.booleans(),
    padded=st.booleans(),
)  # fmt: skip
def test_pooling(kernel, stride, size, ceil_mode, counted, average, padded) -> None:
    padding = tuple(k // 2 for k in kernel) if padded else 0
    x = (drawn((2, 2, *size), 0),)
    if average:
        holds(
            torch.nn.functional.avg_pool2d,
            x,
            kernel_size=kernel,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=counted,
        )
    else:
        holds(torch.nn.functional.max_pool2d, x, kernel_size=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode)
