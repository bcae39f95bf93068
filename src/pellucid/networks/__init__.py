"""The networks Pellucid offers, by name; `registry` is where others join. Importing this package registers ours."""

from pellucid.networks import convolutional, dense, embedding, fully_convolutional, recurrent, temporal, text_cnn, unet, whitened
from pellucid.networks.registry import build, check_custom, default_for, names, network, own_network, resolved_options

__all__ = [
    "build",
    "check_custom",
    "convolutional",
    "default_for",
    "dense",
    "embedding",
    "fully_convolutional",
    "names",
    "network",
    "own_network",
    "recurrent",
    "resolved_options",
    "temporal",
    "text_cnn",
    "unet",
    "whitened",
]
