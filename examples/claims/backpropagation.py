"""Claim: back-propagation is an optimisation algorithm that updates the weights.

Measured: how many weights `backward()` changes; the cosine between the first steps that plain descent and Adam make of the same gradient;
the largest error of the gradient against central differences in float64; how many forward passes those need.

Came out: false. No weight changes; the two optimisers make very different steps of one and the same gradient, which is exact.

python examples/claims/backpropagation.py
"""

import copy

import torch
from claim import Figures, report
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    """name -> network of doubles with one output, inputs"""
    small = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 1))
    deep = nn.Sequential(*(layer for _ in range(5) for layer in (nn.Linear(6, 6), nn.Tanh())), nn.Linear(6, 1))
    convolutional = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 1))
    inputs = {"MLP, 2 layers": (small, (8, 4)), "MLP, 6 layers": (deep, (8, 6)), "CNN": (convolutional, (8, 1, 8, 8))}
    return {name: (network.double(), torch.randn(shape, dtype=torch.float64)) for name, (network, shape) in inputs.items()}


def measure(seed: int, quick: bool) -> Figures:
    torch.manual_seed(seed)
    found: Figures = {}
    for name, (network, X) in networks().items():
        before = parameters_to_vector(network.parameters()).detach().clone()
        network(X).pow(2).mean().backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        changed = float((parameters_to_vector(network.parameters()) != before).sum())
        numeric, probe = torch.zeros_like(before), copy.deepcopy(network)
        with torch.no_grad():
            for place in range(len(before)):
                for step in (1e-5, -1e-5):
                    vector_to_parameters(before + step * torch.eye(len(before), dtype=torch.float64)[place], probe.parameters())
                    numeric[place] += probe(X).pow(2).mean() / (2 * step)
        moves = []
        for optimizer in (torch.optim.SGD, torch.optim.Adam):
            model = copy.deepcopy(network)
            for parameter, like in zip(model.parameters(), network.parameters(), strict=True):
                parameter.grad = like.grad.clone()
            optimizer(model.parameters(), lr=0.1).step()
            moves.append(parameters_to_vector(model.parameters()).detach() - before)
        found[name] = {
            "changed by backward": changed,
            "SGD against Adam, cosine": float(torch.cosine_similarity(*moves, dim=0)),
            "log10 of error": float(((numeric - gradient).abs().max() / gradient.abs().max()).log10()),
            "passes": 2.0 * len(before),
        }
    return found


if __name__ == "__main__":
    report(measure, seeds=10, script=__file__)
