"""Calls of the activations."""

from __future__ import annotations

from derivation.rules.cases import apart, case, given, normal

CASES = {
    "relu": [case(apart(3, 4)), case(given([-1.0, 0.0, 1.0])).at_a_kink(), case(normal(0, 3)), case(normal())],
    "sigmoid": [case(normal(3, 4)), case(given([-800.0, 0.0, 800.0]))],
    "tanh": [case(normal(3, 4))],
}
