"""Wrong labels: are they found, on real ones, and beside cleanlab?

    python benchmarks/label_noise.py [--data-dir ../shared/data] [--samples 12000] [--folds 2] [--epochs 8] [--noise aggre,random1]
                                     [--cleanlab PYTHON]

label_errors: labels of the test parts of CIFAR-10 and MNIST that reviewers found wrong (Northcutt, Athalye and Mueller 2021), by the
published out-of-sample probabilities; how many are among the first 54 (15) that are named. cleanlab wants an older NumPy than ours: give
--cleanlab the interpreter of an environment that has it, and the same probabilities are put before it.

cifar10n: labels that people gave to CIFAR-10's training images (Wei and others 2022). The default network for small photographs, made
narrower, is cross-validated on some of the images with these labels; the area under the ROC curve says how well the probability of the
given label separates wrong from right ones. Aim: at least 0.90; it is met with all images:

    python benchmarks/label_noise.py --samples 50000 --epochs 3 --filters 64 128 128 --noise aggre
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measurement import met, report, verdict
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pellucid.diagnosis.data.label_noise import RANKINGS, cross_validated, noisy_samples
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.networks.whitened import WhitenedConvolutionalNetwork
from pellucid.training.muon import Muon, muon_groups

ROOT = Path(__file__).resolve().parent.parent
AIM = 0.90
THEIRS = """
import sys, types, json
import numpy as np
try:
    import termcolor
except ImportError:
    sys.modules["termcolor"] = types.ModuleType("termcolor")
    sys.modules["termcolor"].colored = lambda text, *args, **kwargs: text
import cleanlab
from cleanlab.filter import find_label_issues
labels = np.load(sys.argv[1])["original_label"].astype(int)
probabilities = np.load(sys.argv[2])["probs"].astype(float)
found = find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate", return_indices_ranked_by="self_confidence", n_jobs=1)
print(json.dumps({"version": cleanlab.__version__, "found": found.tolist()}))
"""


def label_errors(folder: Path, cleanlab: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in ("cifar10", "mnist"):
        files = folder / f"{name}_test_labels_and_pred.npz", folder / f"{name}_test_pred_probs.npz"
        labels = torch.from_numpy(np.load(files[0])["original_label"].astype(np.int64))
        probabilities = torch.from_numpy(np.load(files[1])["probs"]).double()
        reviewed = json.loads((folder / f"{name}_mturk.json").read_text("utf-8"))
        wrong = {case["id"] for case in reviewed if case["mturk"]["given"] < 3}
        found = {
            f"ours, {ranking}, by {by}": noisy_samples(labels, probabilities, ranking, by).tolist()
            for ranking in RANKINGS
            for by in ("noise_rate", "confident_joint")
        }
        if cleanlab is not None:
            given = subprocess.run([cleanlab, "-c", THEIRS, *map(str, files)], capture_output=True, text=True, check=True)
            theirs = json.loads(given.stdout.splitlines()[-1])
            found[f"cleanlab {theirs['version']}"] = theirs["found"]
        rows += [
            {
                "data": name,
                "by": by,
                "named": len(places),
                "wrong among the first": f"{len(wrong & set(places[: len(wrong)]))} of {len(wrong)}",
            }
            for by, places in found.items()
        ]
    return rows


def images(folder: Path, samples: int) -> Tensor:
    """(samples, 3, 32, 32): the first training images in their original order, standardised."""
    from PIL import Image

    parts: list[np.ndarray] = []
    for number in range(1, 1 + -(-samples // 10_000)):
        mosaic = np.asarray(Image.open(folder / f"train_{number}.webp").convert("RGB"))
        parts.append(mosaic.reshape(100, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32))
    values = torch.from_numpy(np.concatenate(parts)[:samples].copy()).float() / 255
    return (values - torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]) / torch.tensor([0.2470, 0.2435, 0.2616])[:, None, None]


def step(model: Any, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """One update on images moved by up to two pixels and mirrored, in bfloat16."""
    inputs, targets = batch
    padded = F.pad(inputs, (2, 2, 2, 2), mode="reflect")
    row, column = torch.randint(5, (2,)).tolist()
    inputs = padded[:, :, row : row + 32, column : column + 32]
    inputs = torch.where(torch.rand(len(inputs), 1, 1, 1) < 0.5, inputs.flip(3), inputs)
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(inputs)
    value = loss(outputs.float(), targets)
    value.backward()
    optimizer.step()
    return value.detach()


def cifar10n(options: argparse.Namespace, noise: str) -> dict[str, Any]:
    inputs = images(options.data_dir / "cifar10", options.samples)
    known = np.load(options.data_dir / "cifar10n" / "cifar10n.npz")
    labels = torch.from_numpy(
        known[f"{noise}_label" if noise in ("aggre", "worse") else f"random_label{noise[-1]}"][: options.samples]
    ).long()
    right = torch.from_numpy(known["clean_label"][: options.samples]).long()

    def model() -> WhitenedConvolutionalNetwork:
        network = WhitenedConvolutionalNetwork((3, 32, 32), 10, filters=tuple(options.filters), mirrored=True)
        network.initialize_from(inputs[:1000])
        return network

    experiment = Experiment(
        model=model,
        loss=lambda outputs, targets: F.cross_entropy(outputs, targets, label_smoothing=0.1),
        optimizer=lambda network: Muon(muon_groups(network, 0.0), lr=options.rate, momentum=0.6),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / options.epochs),
        train=(inputs, labels),
        batch_size=250,
        epochs=options.epochs,
        step=step,
    )
    began = time.perf_counter()
    probabilities = cross_validated(experiment, options.folds, options.seconds)
    seconds = time.perf_counter() - began
    assert probabilities is not None, "a fold was cut off before 20 updates"
    wrong = labels != right
    scores = {name: float(roc_auc_score(wrong.numpy(), -score(labels, probabilities).numpy())) for name, score in RANKINGS.items()}
    found = noisy_samples(labels, probabilities)
    best = scores["self_confidence"]
    return {
        "labels": noise, "samples": options.samples, "wrong": f"{float(wrong.float().mean()):.4f}",
        "accuracy against the right labels": f"{float((probabilities.argmax(1) == right).float().mean()):.4f}",
        "AUC, self-confidence": f"{best:.4f}", "AUC, margin": f"{scores['normalised_margin']:.4f}",
        "named": len(found), "precision": f"{float(wrong[found].float().mean()):.3f}",
        "recall": f"{float(wrong[found].sum() / wrong.sum()):.3f}", "seconds": f"{seconds:.0f}",
        "aim": f">= {AIM:.2f}", "met": met(best >= AIM),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--samples", type=int, default=12_000)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--filters", type=int, nargs="+", default=[64, 128, 128])
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--noise", default="aggre", help="of aggre, random1, random2, random3, worse; none to leave this part out")
    parser.add_argument("--cleanlab", help="an interpreter that has cleanlab")
    options = parser.parse_args()
    rows = label_errors(options.data_dir / "label_errors", options.cleanlab)
    report("label_errors", rows, {})
    if options.noise == "none":
        return 0
    trained = [cifar10n(options, noise) for noise in options.noise.split(",")]
    report("label_noise", trained, {"filters": options.filters, "folds": options.folds, "epochs": options.epochs, "rate": options.rate})
    return verdict(trained)


if __name__ == "__main__":
    sys.exit(main())
