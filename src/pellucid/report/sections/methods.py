"""A paragraph of methods to paste into a paper, in both languages, and how to cite the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.core.language import Text, text
from pellucid.core.wording import baseline_name
from pellucid.report import wording
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    if records.part is None:
        return Absent(text("There is no result to write about."))
    sentences = [*_data(records), *_network(records), *_training(records), *_result(records), _program(records)]
    return {
        "english": " ".join(sentence.render("en") for sentence in sentences),
        "chinese": "".join(sentence.render("zh") for sentence in sentences),
        "citation": _citation(records),
    }


def _data(records: RunRecords) -> list[Text]:
    task, data = records.task, records.run["data"]
    samples = wording.grouped(data.get("samples") or records.ledger.get("samples") or 0)
    targets = [str(name) for name in task.targets[:8]]
    told: list[Text] = []
    if task.kind == "classification":
        told.append(
            text(
                "The task is to classify {data} ({samples} samples) into {classes} classes.",
                data=str(data.get("name")), samples=samples, classes=len(task.classes),
            )
        )  # fmt: skip
    elif task.kind == "segmentation":
        told.append(
            text(
                "The task is to assign one of {classes} classes to each pixel of {data} ({samples} images).",
                data=str(data.get("name")), samples=samples, classes=len(task.classes),
            )
        )  # fmt: skip
    elif task.kind == "forecasting":
        told.append(
            text(
                "The task is to forecast {target} in {data} ({samples} rows) {horizon} steps ahead, from the last {lags} steps; every "
                "origin of the test part was forecast from what was known then.",
                target=targets[0], data=str(data.get("name")), samples=samples, horizon=task.horizon,
                lags=records.preprocessing.get("lags", "?"),
            )
        )  # fmt: skip
    else:
        told.append(
            text(
                "The task is to predict {targets} from {data} ({samples} samples).",
                targets=targets,
                data=str(data.get("name")),
                samples=samples,
            )
        )
    parts = str(records.ledger.get("parts", ""))
    if parts:
        told.append(
            text(
                "The samples were divided {rule} into a training part of {train}, a validation part of {validation} "
                "and a test part of {test}; exact copies of a sample stand in one part.",
                rule=_rule(records), train=wording.grouped(parts.count("t")), validation=wording.grouped(parts.count("v")),
                test=wording.grouped(parts.count("s")),
            )
        )  # fmt: skip
    told.append(text("All scaling and encoding was fitted on the training part alone."))
    return told


def _rule(records: RunRecords) -> Text:
    options = records.ledger.get("options") or {}
    if options.get("timed"):
        return text("by time (the latest samples for testing)")
    if options.get("grouped"):
        return text("at random by groups")
    if "parts" in (records.ledger.get("reference") or {}) or options.get("given"):
        return text("as the source gives them")
    return text("at random, stratified by class,") if records.task.kind == "classification" else text("at random")


def _network(records: RunRecords) -> list[Text]:
    described, table = records.run["network"], records.network
    count = wording.grouped(table.parameters if table is not None else described.get("parameters") or 0)
    name = str(described.get("name"))
    if described.get("custom"):
        return [text("The network is our own, {name}, with {count} parameters.", name=name, count=count)]
    names = {
        "mlp": text("a multilayer perceptron"), "cnn": text("a convolutional neural network"), "perceptron": text("a perceptron"),
        "whitened_cnn": text("a convolutional neural network whose first layer whitens the image"),
        "cnn1d": text("convolutions along time with a mean over all steps (Wang et al. 2017)"),
        "resnet1d": text("residual convolutions along time (Wang et al. 2017)"),
        "rnn": text("a recurrent network (Elman 1990)"), "lstm": text("a long short-term memory (Hochreiter and Schmidhuber 1997)"),
        "gru": text("gated recurrent units (Cho et al. 2014)"), "transformer": text("a transformer's encoder (Vaswani et al. 2017)"),
        "unet": text("a U-Net (Ronneberger et al. 2015)"), "fcn": text("a fully convolutional network (Long et al. 2015)"),
        "logistic": text("a logistic (linear softmax) model") if records.task.kind == "classification" else text("a linear model"),
    }  # fmt: skip
    activation = records.settings.get("activation")
    if name in ("perceptron", "logistic") or not isinstance(activation, str):
        return [text("The network is {name} with {count} parameters.", name=wording.named(names, name), count=count)]
    return [
        text(
            "The network is {name} with {count} parameters and the activation function {activation}.",
            name=wording.named(names, name), count=count, activation=activation.removeprefix("python:"),
        )
    ]  # fmt: skip


def _training(records: RunRecords) -> list[Text]:
    settings = records.settings
    if not settings:
        return []
    told = [
        text(
            "It was trained with {optimizer} ({details}) on the {loss}, in mini-batches of {batch_size}, for at most {epochs} epochs.",
            optimizer=wording.named(wording.OPTIMIZER_NAMES, settings.get("optimizer")), details=_details(records),
            loss=wording.named(wording.LOSS_NAMES, settings.get("loss")), batch_size=settings.get("batch_size"),
            epochs=settings.get("epochs"),
        )
    ]  # fmt: skip
    against = _against_overfitting(settings)
    if against:
        told.append(text("Against overfitting: {means}.", means=against))
    kept = records.kept_epoch
    if kept is not None and any(row.get("validation") for row in records.history):
        told.append(
            text(
                "The weights with the lowest validation loss, those of epoch {epoch} of {epochs}, were kept.",
                epoch=kept,
                epochs=len(records.history),
            )
        )
    elif kept is not None:
        told.append(text("The weights with the lowest training loss, those of epoch {epoch}, were kept.", epoch=kept))
    return told


def _details(records: RunRecords) -> list[Text]:
    settings = records.settings
    rate = settings.get("learning_rate")
    details = [text("learning rate {rate} at its largest", rate=wording.rate(rate))] if isinstance(rate, (int, float)) else []
    if records.config.get("learning_rate") == "auto" and records.decisions.get("range_test"):
        details.append(text("chosen by a range test (Smith 2017)"))
    details.append(wording.named(dict(wording.SCHEDULE_NAMES), settings.get("schedule")))  # type: ignore[arg-type]
    if settings.get("momentum") and settings.get("optimizer") in ("momentum", "nesterov", "rmsprop", "muon"):
        details.append(text("momentum {number:g}", number=settings["momentum"]))
    if settings.get("weight_decay"):
        details.append(text("weight decay {number:g}", number=settings["weight_decay"]))
    if settings.get("precision") == "bfloat16":
        details.append(text("mixed precision (bfloat16)"))
    if settings.get("clip"):
        details.append(text("gradient norm clipped at {number:g}", number=settings["clip"]))
    return details


def _against_overfitting(settings: Mapping[str, Any]) -> list[Text]:
    means: list[Text] = []
    if settings.get("dropout"):
        means.append(text("dropout with probability {number:g}", number=settings["dropout"]))
    if settings.get("label_smoothing"):
        means.append(text("label smoothing of {number:g}", number=settings["label_smoothing"]))
    if settings.get("l1"):
        means.append(text("an L1 penalty of {number:g}", number=settings["l1"]))
    if settings.get("augment") not in (None, "none"):
        means.append(text("random changes of the training samples ({changes})", changes=wording.augmentations(str(settings["augment"]))))
    if settings.get("patience"):
        means.append(text("early stopping after {patience} epochs without a lower validation loss", patience=settings["patience"]))
    return means


def _result(records: RunRecords) -> list[Text]:
    part = records.part
    score = records.score(part)
    if score is None or part is None:
        return []
    told: list[Text] = []
    values = {"metric": wording.metric_name(score.name), "value": wording.value(score.value), "samples": wording.grouped(score.samples)}
    if score.interval is not None:
        values["interval"] = wording.interval(score.interval, score.value)
        told.append(
            text(
                "On the test part ({samples} samples), which took no part in training or in choosing, {metric} was {value} "
                "(95 % confidence interval {interval}).",
                **values,
            )
            if part == "test"
            else text(
                "On the {part} ({samples} samples), {metric} was {value} (95 % confidence interval {interval}).",
                part=wording.PART_NAMES[part],
                **values,
            )
        )
    else:
        told.append(text("On the {part} ({samples} samples), {metric} was {value}.", part=wording.PART_NAMES[part], **values))
    told += _compared(records)
    if records.task.kind == "forecasting":
        told.append(
            text(
                "The network corrects a ridge regression on the lags that was fitted to the training part; its intervals were calibrated "
                "on the validation part (conformalised quantile regression)."
            )
        )
    told.append(
        text(
            "Intervals of accuracy are Wilson's, of the area under the ROC curve DeLong's, others percentiles of 1000 bootstrap resamples."
        )
        if records.task.kind == "classification"
        else text("Intervals are percentiles of 1000 resamples of blocks of neighbouring origins (circular block bootstrap).")
        if records.task.kind == "forecasting"
        else text("Intervals are percentiles of 1000 bootstrap resamples.")
    )
    return told


def _compared(records: RunRecords) -> list[Text]:
    found = records.baselines
    best = next((baseline for baseline in found.baselines if baseline.name == found.best), None) if found is not None else None
    if best is None or found is None or best.difference is None:
        return []
    score = next((score for score in best.scores if score.name == found.primary), None)
    if score is None or best.difference.interval is None:
        return []
    return [
        text(
            "The best of {count} classical models trained on the same samples, {name}, reached {value}; "
            "difference {difference}, 95 % interval {interval} (paired bootstrap).",
            count=sum(baseline.skipped is None and baseline.name != "constant" for baseline in found.baselines),
            name=baseline_name(best.name, found.primary),
            value=wording.value(score.value),
            difference=wording.difference(best.difference.value, score.value),
            interval=wording.interval(best.difference.interval, score.value),
        )
    ]


def _program(records: RunRecords) -> Text:
    environment = records.run["environment"]
    return text(
        "Computed with Pellucid {pellucid}, PyTorch {torch} and Python {python} on {machine}, seed {seed}.",
        pellucid=str(environment.get("pellucid", "?")),
        torch=str(environment.get("torch", "?")),
        python=str(environment.get("python", "?")),
        machine=str(environment.get("accelerator") or environment.get("cpu") or environment.get("machine") or "?"),
        seed=records.settings.get("seed", records.config.get("seed", 0)),
    )


def _citation(records: RunRecords) -> str:
    """BibTeX of the program, in the version that made the run."""
    return (
        "@software{pellucid,\n"
        "  title   = {{Pellucid}: train a neural network on your own data, and see through it},\n"
        "  author  = {{The Pellucid authors}},\n"
        f"  version = {{{records.run.get('pellucid', '')}}},\n"
        f"  year    = {{{str(records.run.get('created', ''))[:4]}}},\n"
        "  license = {Apache-2.0}\n"
        "}"
    )
