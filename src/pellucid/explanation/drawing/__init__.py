"""Attributions in the user's own terms: pixels over their image, columns with their values, words, time steps; one page or one picture."""

from pellucid.explanation.drawing.page import to_html
from pellucid.explanation.drawing.picture import plot

__all__ = ["plot", "to_html"]
