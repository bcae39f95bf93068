"""Simple and classical models on the same split as the network: deep learning, or classical machine learning?"""

from pellucid.training.baselines.comparison import compare

__all__ = ["compare"]
