"""certify: how far can somebody else's attributions be trusted?

certificate = pellucid.certify(model, inputs, captum_attributions, target=3, data=background)
certificate.trust, certificate.reasons, certificate.scores
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.explanation.certificate import Certificate, certificate_of
from pellucid.explanation.checks import checked_seed, groups_of, named, plainly, tensors_of
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed
from pellucid.explanation.subject import Subject


@plainly()
def certify(
    model: nn.Module,
    inputs: Any,
    attributions: Any,
    target: Any = None,
    *,
    data: Any = None,
    seed: int = 0,
    baseline: Any = "auto",
    features: Any = "auto",
) -> Certificate:
    """Test attributions from anywhere (Captum, SHAP, a colleague) against the network they are said to explain.

    `inputs`, `target`, `data`, `baseline`, `features`: as in `explain`; give the baseline that the attributions were made with.
    `attributions`: a tensor or array for each input, of its shape; of images and series also with one channel for all, (N, 1, H, W) or
    (N, H, W); of tokens, with their embeddings' axis, (N, T, D), which is summed. How they were made is not known: their sensitivity and
    the parameter randomisation are not tested. Their size is: values that are not those of the output's changes, by their slope or, where
    `baseline` is given, by their sum, have limited trust, as only their proportions say something.

    Raises:
        DataError: attributions of another shape than the inputs, or not finite.
        ModelError, OptionError: as in `explain`.

    Example:
        pellucid.certify(model, images, attributions, target=3, data=more_images).trust
    """
    seed = checked_seed(seed)
    subject = Subject.of(model, inputs, target)
    given = _fitting(subject, attributions)
    reference = Reference.of(subject, baseline, data, torch.Generator().manual_seed(seed))
    players = Players.of(subject, groups_of(features))
    known = not (isinstance(baseline, str) and baseline == "auto") and reference.kind not in ("samples", "noise")  # which are drawn
    return certificate_of(
        subject, Attributed(given), method=None, family=None, reference=reference, players=players, seed=seed, data=data,
        reference_known=known,
    )  # fmt: skip


def _fitting(subject: Subject, attributions: Any) -> tuple[Tensor, ...]:
    """The attributions in the shapes of the inputs."""
    if isinstance(attributions, Mapping):
        attributions = named(cast("Mapping[Any, Any]", attributions), subject.keywords, text("the attributions' dict"))
    parts, _ = tensors_of(attributions, text("the attributions"))
    if len(parts) != len(subject.inputs):
        raise DataError(
            text("there are attributions for {count} inputs", count=len(parts)),
            text("{expected}, as many as there are inputs", expected=len(subject.inputs)),
            text("give one for each input, in the same order"),
        )
    return tuple(_shaped(part, like) for part, like in zip(parts, subject.inputs, strict=True))


def _shaped(part: Tensor, like: Tensor) -> Tensor:
    got = tuple(part.shape)
    part = part.detach().to(like.device)
    if part.dim() == 1 and like.shape == (len(part), 1):
        part = part[:, None]  # of one number per sample
    if part.dim() == like.dim() - 1 and like.dim() > 2 and part.shape == (like.shape[0], *like.shape[2:]):
        part = part[:, None]  # one map for all channels
    if part.dim() == like.dim() + 1 and part.shape[:-1] == like.shape and not like.is_floating_point():
        part = part.sum(-1)  # over the embedding
    if part.shape != like.shape and part.dim() == like.dim() > 2 and part.shape == (like.shape[0], 1, *like.shape[2:]):
        part = (part / like.shape[1]).expand_as(like)
    if part.shape != like.shape:
        raise DataError(
            text("attributions have shape {shape}", shape=str(got)),
            text("{shape}, the shape of the inputs", shape=str(tuple(like.shape))),
            text("of shap.Explanation take .values, and of all classes the one that is explained: values[..., target]"),
        )
    part = part if part.is_floating_point() else part.float()
    if not bool(torch.isfinite(part).all()):
        raise DataError(
            text("attributions contain NaN or infinite values"),
            text("finite numbers"),
            text("look for a division by zero in the method that made them"),
        )
    return part
