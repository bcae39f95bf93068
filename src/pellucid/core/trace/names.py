"""What an operation is called: the textbook's name, whichever of PyTorch's spellings the program used.

`x + y`, `x.add_(y)` and `torch.add(x, y)` are all "add". The rules are three: an in-place spelling loses its underscore, the
prefix of `torch.special` falls away, and what is left is looked up in one table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

# spelling without its in-place underscore -> the name we use
ALIASES = {
    # Python's operators. Reflected ones that do not commute keep an own name, because their arguments come in the other order.
    "__add__": "add", "__radd__": "add", "__iadd__": "add",
    "__sub__": "sub", "__isub__": "sub", "__rsub__": "rsub",
    "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
    "__truediv__": "div", "__div__": "div", "__itruediv__": "div", "__idiv__": "div", "__rtruediv__": "rdiv", "__rdiv__": "rdiv",
    "__floordiv__": "floor_divide", "__ifloordiv__": "floor_divide", "__rfloordiv__": "rfloor_divide",
    "__mod__": "remainder", "__imod__": "remainder", "__rmod__": "rremainder",
    "__pow__": "pow", "__ipow__": "pow", "__rpow__": "rpow",
    "__matmul__": "matmul", "__imatmul__": "matmul", "__rmatmul__": "rmatmul",
    "__neg__": "neg", "__pos__": "positive", "__abs__": "abs",
    "__eq__": "eq", "__ne__": "ne", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge",
    "__invert__": "bitwise_not",
    "__and__": "bitwise_and", "__rand__": "bitwise_and", "__iand__": "bitwise_and",
    "__or__": "bitwise_or", "__ror__": "bitwise_or", "__ior__": "bitwise_or",
    "__xor__": "bitwise_xor", "__rxor__": "bitwise_xor", "__ixor__": "bitwise_xor",
    "__lshift__": "bitwise_left_shift", "__ilshift__": "bitwise_left_shift", "__rlshift__": "rbitwise_left_shift",
    "__rshift__": "bitwise_right_shift", "__irshift__": "bitwise_right_shift", "__rrshift__": "rbitwise_right_shift",
    "__getitem__": "getitem", "__setitem__": "setitem", "__reversed__": "flip",
    # a second spelling of the same function
    "absolute": "abs", "negative": "neg", "subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div",
    "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh",
    "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le", "not_equal": "ne",
    "clip": "clamp", "fix": "trunc", "concat": "cat", "concatenate": "cat", "row_stack": "vstack", "ger": "outer", "trapz": "trapezoid",
    "moveaxis": "movedim", "swapaxes": "transpose", "swapdims": "transpose", "T": "t", "H": "adjoint", "mH": "adjoint",
    "linalg_det": "det", "linalg_slogdet": "slogdet", "linalg_inv": "inv", "inverse": "inv", "linalg_pinv": "pinv", "pinverse": "pinv",
    "linalg_matmul": "matmul", "linalg_matrix_exp": "matrix_exp", "linalg_matrix_power": "matrix_power",
    "linalg_householder_product": "householder_product", "orgqr": "householder_product",
    "expit": "sigmoid", "psi": "digamma", "gammainc": "igamma", "gammaincc": "igammac", "multigammaln": "mvlgamma", "gammaln": "lgamma",
    "_threshold": "threshold",
}  # fmt: skip

# Attributes of a tensor that are again tensors; reading any other attribute computes nothing.
TENSOR_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "data", "real", "imag", "grad"})

# Operations that read a value into Python: what the program does next may depend on it.
READS = frozenset({
    "item", "tolist", "numpy", "__bool__", "__int__", "__long__", "__float__", "__index__", "__complex__", "__contains__", "__array__",
    "equal", "allclose", "is_nonzero",
})  # fmt: skip


def attribute(function: Callable[..., Any]) -> str | None:
    """The tensor attribute that this getter or setter stands for, else None."""
    if getattr(function, "__name__", "") not in ("__get__", "__set__"):
        return None
    owner: Any = getattr(function, "__self__", None)
    if isinstance(owner, property):  # an attribute that torch defines in Python
        owner = owner.fget
    return getattr(owner, "__name__", "")


def spelling(function: Callable[..., Any]) -> str:
    """The name by which the program called it: "relu_", "__rsub__", "linalg_norm"."""
    if isinstance(function, torch._ops.OpOverload):
        return function._schema.name.split("::")[-1]
    if isinstance(function, torch._ops.OpOverloadPacket):
        return function._qualified_op_name.split("::")[-1]
    name = attribute(function)
    if name is not None:
        return name if function.__name__ == "__get__" else f"set_{name}"
    return getattr(function, "__name__", type(function).__name__)


def operation_name(function: Callable[..., Any]) -> str:
    """The textbook's name of a torch function, method, operator or attribute."""
    name = spelling(function)
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    name = name.removeprefix("special_")
    if name == "unfold" and getattr(function, "__module__", "") != "torch.nn.functional":
        return "unfold_dimension"  # x.unfold(dimension, size, step); the other one takes patches of images
    return ALIASES.get(name, name)
