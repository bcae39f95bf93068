"""Equations as textbooks write them, where the rules' own follow PyTorch's layout: linear layers, activations and losses."""

from __future__ import annotations

from pellucid.core.language import Text, text

ELEMENTWISE = {  # activation -> (its name in an equation, its derivative, by which letters)
    "sigmoid": (r"\sigma", r"Y \odot (1 - Y)"),
    "tanh": (r"\tanh", r"1 - Y^{2}"),
    "relu": (r"\operatorname{relu}", r"[X > 0]"),
}
LINEAR = {  # notation -> the four equations of a linear step; \given as in rules
    "column": {
        "forward": r"Y = W X\given{bias}{ + b}",
        "input": r"\bar{X} = W^{\top} \bar{Y}",
        "weight": r"\bar{W} = \bar{Y} X^{\top}",
        "bias": r"\bar{b} = \bar{Y}",
    },
    "row": {
        "forward": r"Y = X W\given{bias}{ + b}",
        "input": r"\bar{X} = \bar{Y} W^{\top}",
        "weight": r"\bar{W} = X^{\top} \bar{Y}",
        "bias": r"\bar{b} = \bar{Y}",
    },
    "each": {  # column notation outside a chain: one example
        "forward": r"Y_{n} = W X_{n}\given{bias}{ + b}",
        "input": r"\bar{X}_{n} = W^{\top} \bar{Y}_{n}",
        "weight": r"\bar{W} = \sum_{n} \bar{Y}_{n} X_{n}^{\top}",
        "bias": r"\bar{b} = \sum_{n} \bar{Y}_{n}",
    },
}
LOSSES = {  # name -> the loss and its gradient, P the output, y the target, m the examples, n the entries
    "half_squared_error": (r"L = \frac{1}{2} \sum_{i} (P_{i} - y_{i})^{2}", r"\bar{P} = P - y"),
    "mse_per_sample": (r"L = \frac{1}{m} \sum_{i} \lVert y_{i} - P_{i} \rVert^{2}", r"\bar{P} = \frac{2}{m} (P - y)"),
    "mse": (r"L = \frac{1}{n} \sum_{i} (P_{i} - y_{i})^{2}", r"\bar{P} = \frac{2}{n} (P - y)"),
    "mse_loss": (r"L = \frac{1}{n} \sum_{i} (P_{i} - y_{i})^{2}", r"\bar{P} = \frac{2}{n} (P - y)"),
    "cross_entropy": (
        r"p = \operatorname{softmax}(P), \quad L = -\frac{1}{m} \sum_{i} \sum_{k} y_{ik} \ln p_{ik}",
        r"\bar{P} = \frac{1}{m} (p - y)",
    ),
    "cross_entropy_of_probabilities": (
        r"L = -\frac{1}{m} \sum_{i} \sum_{k} y_{ik} \ln P_{ik}",
        r"\bar{P}_{ik} = -\frac{1}{m} \frac{y_{ik}}{P_{ik}}",
    ),
    "binary_cross_entropy": (
        r"L = -\frac{1}{n} \sum_{i} \bigl( y_{i} \ln P_{i} + (1 - y_{i}) \ln (1 - P_{i}) \bigr)",
        r"\bar{P}_{i} = \frac{1}{n} \frac{P_{i} - y_{i}}{P_{i} (1 - P_{i})}",
    ),
}
FACTORS: dict[str, Text] = {
    "half_squared_error": text("half the sum of the squares; the mean of the squares (mse) is 2/n times this loss, n entries"),
    "mse_per_sample": text(
        "the sum of the squares over the m examples; torch's mse divides by every entry instead: this loss is n/m times mse"
    ),
    "mse": text("the mean of the squares over all n entries; half_squared_error is n/2 times this loss"),
    "mse_loss": text("the mean of the squares over all n entries; half_squared_error is n/2 times this loss"),
    "cross_entropy": text("the network's outputs are logits: softmax turns them into probabilities p; y is one-hot; m examples"),
    "cross_entropy_of_probabilities": text("the network's outputs are probabilities; y is one-hot; m examples"),
    "binary_cross_entropy": text("the network's outputs are probabilities; n entries"),
}
