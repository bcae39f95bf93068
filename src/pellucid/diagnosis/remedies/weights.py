"""Changes of the weights that a training starts from, and of which of them it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import called, device_of, on_device
from pellucid.diagnosis.remedies import cannot, remedy
from pellucid.diagnosis.remedies.settings import with_optimizer

SCHEMES: Mapping[str, Callable[[Tensor], Any]] = {
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),  # He et al. 2015, equation 10
    "xavier": nn.init.xavier_uniform_,  # Glorot and Bengio 2010, equation 16
    "orthogonal": nn.init.orthogonal_,  # Saxe et al. 2014
}
ALSO = {"he": "kaiming", "glorot": "xavier"}


@remedy("reinitialise", "scheme", may=("names",))
def reinitialise(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Weights are drawn anew: by "kaiming" ("he"), "xavier" ("glorot") or "orthogonal" with biases 0, or by each module's "default".

    Only matrices and kernels are drawn; scales of normalisations and embeddings keep their module's default. `names` are those of
    parameters, or of modules whose parameters are meant; all where they are left out.
    """
    scheme = ALSO.get(str(values["scheme"]), str(values["scheme"]))
    if scheme not in (*SCHEMES, "default"):
        raise cannot("reinitialise", text("{name!r} is none of {names}", name=scheme, names=[*SCHEMES, "default"]))
    names = _several(values.get("names"))
    factory = experiment.model
    _chosen(experiment, "reinitialise", names)

    def fresh() -> nn.Module:
        model = factory()
        with torch.no_grad():
            _drawn(model, scheme, names)
        return model

    return experiment.changed(model=fresh)


def _drawn(model: nn.Module, scheme: str, names: tuple[str, ...]) -> None:
    done: set[int] = set()
    for path, module in model.named_modules():
        mine = [
            (name, parameter)
            for name, parameter in module.named_parameters(recurse=False)
            if id(parameter) not in done and _meant(f"{path}.{name}" if path else name, names)
        ]
        if not mine:
            continue
        done.update(id(parameter) for _, parameter in mine)
        reset = getattr(module, "reset_parameters", None)
        plain = all(parameter.dim() < 2 for _, parameter in mine) or isinstance(module, (nn.Embedding, nn.EmbeddingBag))
        if callable(reset) and (scheme == "default" or plain):
            reset()
            continue
        for _, parameter in mine:
            if parameter.dim() >= 2:
                SCHEMES["kaiming" if scheme == "default" else scheme](parameter)
            elif len(mine) > 1:  # a bias beside its matrix; a lone vector may be a scale
                parameter.zero_()


@remedy("unfreeze", "names")
def unfreeze(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Parameters (or those of modules) of these names require their gradient, and the optimizer has them."""
    names = _several(values["names"])
    _chosen(experiment, "unfreeze", names)
    factory = experiment.model

    def fresh() -> nn.Module:
        model = factory()
        for name, parameter in model.named_parameters():
            if _meant(name, names):
                parameter.requires_grad_(True)
        return model

    def owned(model: nn.Module, optimizer: Any) -> Any:
        return _added(optimizer, (parameter for name, parameter in model.named_parameters() if _meant(name, names)))

    return with_optimizer(experiment.changed(model=fresh), owned)


@remedy("own_parameters")
def own_parameters(experiment: Experiment, _: Mapping[str, Any]) -> Experiment:
    """The optimizer gets all weights that the loss depends on, also those that the model keeps in a plain list, with its first group's
    settings."""
    batch = experiment.first_batch()
    loss = experiment.loss

    def change(model: nn.Module, optimizer: Any) -> Any:
        return _added(optimizer, _used(model, loss, batch))

    with experiment.seeded(0):
        model, optimizer = experiment.build(0)
        before = sum(len(group["params"]) for group in optimizer.param_groups)
        if sum(len(group["params"]) for group in change(model, optimizer).param_groups) == before:
            raise cannot("own_parameters", text("the optimizer has every weight that the loss depends on"))
    return with_optimizer(experiment, change)


def _used(model: nn.Module, loss: Any, batch: Any) -> list[Tensor]:
    """The leaves of the gradient graph of one batch, in the order of the graph; the model's buffers and modes stay as they are."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.enable_grad():
            inputs, targets = on_device(batch, device_of(model))
            value = loss(called(model, inputs), targets)
    finally:
        for module, mode in modes.items():
            module.training = mode
    found: dict[int, Tensor] = {}
    waiting, known = [value.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            found[id(leaf)] = leaf
        waiting.extend(following for following, _ in node.next_functions)
    order = {id(parameter): place for place, parameter in enumerate(model.parameters())}
    return sorted(found.values(), key=lambda leaf: order.get(id(leaf), len(order)))


def _added(optimizer: Any, parameters: Iterable[Tensor]) -> Any:
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [parameter for parameter in parameters if id(parameter) not in known]
    if missing:
        settings = {name: value for name, value in optimizer.param_groups[0].items() if name not in ("params", "param_names")}
        optimizer.add_param_group({"params": missing, **settings})
    return optimizer


def _several(names: Any) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(str(name) for name in names)


def _meant(name: str, names: tuple[str, ...]) -> bool:
    return not names or any(name == one or name.startswith(f"{one}.") for one in names)


def _chosen(experiment: Experiment, kind: str, names: tuple[str, ...]) -> None:
    """Every name must be one of the model's."""
    with experiment.seeded(0):
        model, _ = experiment.build(0)
    known = [name for name, _ in model.named_parameters()]
    for one in names:
        if not any(_meant(name, (one,)) for name in known):
            raise cannot(kind, text("the model has no parameter or module named {name!r}", name=one))
