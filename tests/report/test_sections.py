"""What each section says, against the records it was drawn from."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from pellucid.core.records import Score
from pellucid.core.results import Evaluation
from pellucid.report import wording, write
from pellucid.report.records import read_records
from pellucid.report.sections import answer, baselines, confusion, cost, data, methods, mistakes, reproduction, scores, training
from pellucid.report.sections.absent import Absent
from report.reading import Page
from report.records import evaluation_of, history, mistakes_of, write_run


@pytest.fixture
def records(tmp_path):
    return read_records(write_run(tmp_path))


def words_of(directory) -> str:
    return Page(write(directory).read_text("utf-8")).words("en")


def test_the_answer_comes_first(tmp_path):
    words = words_of(write_run(tmp_path))
    order = [
        "How good is it?", "0.973", "95 % interval [0.953, 0.993]", "measured on 360 samples", "Is it better than classical models?",
        "Has it learnt too little", "What to do next", "pellucid predict runs/x NEW_DATA", "training part 252",
    ]  # fmt: skip
    places = [words.index(piece) for piece in order]
    assert places == sorted(places)


def test_the_first_sentence_of_the_summary_is_the_headline_and_not_repeated(records):
    assert [str(sentence) for sentence in answer.content(records)["measured"]] == ["underfitting"]


def test_the_counts_of_the_ledger(records):
    found = data.content(records)
    assert [(size, kind) for _, size, _, kind in found["sizes"]] == [(252, "train"), (72, "validation"), (36, "test")]
    facts = {str(name): str(value) for name, value in found["facts"]}
    assert facts["exact copies"].startswith("3, in 2 groups")
    assert facts["same inputs, different targets"] == "2 samples"
    assert facts["taken out"].startswith("one copy")
    assert facts["could not be read"] == "1"
    assert facts["how it was divided"] == "at random with seed 4, each class in the same proportion in every part"
    assert [(str(column["kind"]), column["used"], column["missing"]) for column in found["columns"]] == [
        ("numeric", True, 0),
        ("categorical", True, 1),
    ]
    assert "square/broken.png" in words_of_quarantine(found)


def words_of_quarantine(found) -> str:
    return " ".join(who for who, _ in found["quarantined"])


@pytest.mark.parametrize(
    ("options", "reference", "words"),
    [
        ({"timed": True}, None, "by time"),
        ({"grouped": True}, None, "each group on one side"),
        ({}, {"parts": {"train": {}}}, "as the source gives it"),
    ],
)
def test_how_the_data_were_divided(tmp_path, options, reference, words):
    directory = write_run(tmp_path)
    ledger = directory.read_json("data.json")
    directory.write_json("data.json", {**ledger, "options": options, "reference": reference})
    assert words in words_of(directory)


def test_the_verdict_is_drawn_on_the_curves(records):
    figures = {figure.name: figure for figure in training.content(records)["figures"]}
    assert list(figures) == ["losses", "metric", "rates", "range-test"]
    kept = [str(note.words) for note in figures["losses"].plot.notes]
    assert kept == ["kept: epoch 8, loss 0.300"]
    assert [str(note.words) for note in figures["metric"].plot.notes] == ["gap +0.032"]  # the verdict's own, not the curves'
    assert "gap" in "".join(figures["metric"].plot.marks)
    assert [str(note.words) for note in figures["range-test"].plot.notes] == ["chosen: 0.0031"]


def test_training_curves_are_not_called_learning_curves(tmp_path):
    page = Page(write(write_run(tmp_path)).read_text("utf-8"))
    assert "learning curve" not in page.words("en").lower()
    assert "学习曲线" not in page.words("zh")
    assert "训练曲线" in page.words("zh")


def test_a_history_with_gaps_and_infinities_is_drawn(tmp_path):
    directory = write_run(tmp_path, epochs=0)
    rows = history(6)
    rows[2]["train"]["loss"] = float("nan")
    rows[3]["validation"]["loss"] = float("inf")
    del rows[4]["validation"]
    for row in rows:
        directory.append_metrics(row)
    assert "Loss per epoch" in words_of(directory)


@pytest.mark.parametrize("epochs", [1, 2, 2000])
def test_one_epoch_and_thousands(tmp_path, epochs):
    page = Page(write(write_run(tmp_path, epochs=epochs)).read_text("utf-8"))
    assert len(page.source) < 400_000
    assert "Loss per epoch" in page.words("en")


def test_without_a_validation_part_the_training_loss_chose(tmp_path):
    directory = write_run(tmp_path, epochs=0)
    for row in history(5, validation=False):
        directory.append_metrics(row)
    assert "those with the lowest training loss" in words_of(directory)


def test_scores_with_intervals_and_those_of_the_other_parts(records):
    found = scores.content(records)
    named = {score.name: score for score, _, _ in found["rows"]}
    assert named["accuracy"].value == 0.9728
    assert [str(name) for name, _ in found["others"]] == ["validation part", "training part"]
    bars = {score.name: bar for score, _, bar in found["rows"]}
    assert bars["log_loss"] is None  # it has another scale
    assert bars["accuracy"].low < bars["accuracy"].place < bars["accuracy"].high


def test_two_classes_have_sensitivity_and_specificity(tmp_path):
    words = words_of(write_run(tmp_path, classes=("benign", "malignant")))
    assert "0.654" in words
    assert "0.876" in words
    assert "of the samples of class malignant" in words
    assert "specificity" not in words_of(write_run(tmp_path)).lower()


def test_of_many_classes_the_lowest_come_first(tmp_path):
    names = [f"class {i}" for i in range(30)]
    part = evaluation_of(names)
    weak = part.per_class[17]
    changed = weak.from_dict({**weak.to_dict(), "f1": Score(name="f1", value=0.1).to_dict()})
    per_class = (*part.per_class[:17], changed, *part.per_class[18:])
    part = part.from_dict({**part.to_dict(), "per_class": [row.to_dict() for row in per_class]})
    directory = write_run(
        tmp_path, classes=names, records={"evaluation": Evaluation(task="classification", primary="accuracy", parts={"test": part})}
    )
    classes = scores.content(read_records(directory))["classes"]
    assert classes["first"][0][0].name == "class 17"
    assert len(classes["first"]) == 10
    assert len(classes["all"]) == 30


@pytest.mark.parametrize(("classes", "named", "numbers"), [(2, True, True), (10, True, True), (43, False, True), (90, False, False)])
def test_the_confusion_matrix_has_its_counts_in_their_places(tmp_path, classes, named, numbers):
    names = [f"class {i}" for i in range(classes)]
    directory = write_run(tmp_path, classes=names)
    found = confusion.content(read_records(directory))
    assert (found["named"], found["numbers"]) == (named, numbers)
    for actual, row in enumerate(found["matrix"]):
        assert row["name"] == names[actual]
        for predicted, (count, shade, right) in enumerate(row["cells"]):
            assert count == (7 if actual == predicted else int((actual + 1) % classes == predicted))
            assert right == (actual == predicted)
            assert shade == pytest.approx((7 / 8 if right else (1 / 8) ** 0.5) if count else 0)
    source = write(directory).read_text("utf-8")
    assert len(re.findall(r'<td class="(?:right|wrong)', source)) == classes**2


def test_of_thousands_of_classes_the_pairs_are_told(tmp_path):
    names = [f"class {i}" for i in range(1000)]
    words = words_of(write_run(tmp_path, classes=names))
    assert "With 1 000 classes only the pairs are kept" in words
    assert words.index("class 0 class 1 40") < words.index("class 1 class 2 39")


def test_calibration_is_put_into_words(tmp_path):
    words = words_of(write_run(tmp_path))
    assert "Expected calibration error (ECE) on the test part: 0.042 [0.022, 0.062]" in words
    assert "would show 0.010 to 0.030: the probabilities are not to be taken at their word" in words
    assert "it is too sure of itself" in words  # each bin says 5 % more than it holds


def test_mistakes_are_shown_with_their_rows(tmp_path):
    found = mistakes.content(read_records(write_run(tmp_path)))
    assert len(found["first"]) + len(found["rest"]) == 24
    card = found["first"][0]
    assert (card["actual"], card["predicted"], card["probability"]) == ("cat", "owl", "98.7 %")
    assert card["values"] == [("width", "cell 0 width"), ("height", "cell 0 height")]


def test_baselines_are_sorted_and_marked(records):
    found = baselines.content(records)
    assert [str(row["name"]) for row in found["rows"]] == ["gradient boosting", "logistic regression", "a constant answer"]
    assert [row["mark"] for row in found["rows"]] == ["✗", "≈", "✓"]
    assert [(str(name), str(reason)) for name, reason in found["skipped"]] == [("a support vector machine", "samples left out: 3 (row 5)")]
    assert found["rows"][0]["difference"] == "−0.018"


def test_cost_expected_and_actual(records):
    rows = {str(name): (str(expected), str(actual)) for name, expected, actual in cost.content(records)["rows"]}
    assert rows["time in all"] == ("1 min 15 s", "1 min 23 s")
    assert rows["largest memory of the process"] == ("–", "351 MiB")
    assert rows["operations in all training steps"][1] == "6.15 GFLOP"
    assert rows["energy of the processor"][1] == "not measurable here"
    assert rows["training samples per second"][1] == "50"


def test_energy_where_it_was_measured(tmp_path):
    directory = write_run(tmp_path)
    stored = directory.read_record("cost")
    directory.write_record("cost", {**stored, "energy_joules": 5234.5})
    assert "5234 J" in words_of(directory)


def test_the_methods_name_what_was_done(records):
    found = methods.content(records)
    for piece in (
        "classify animals (360 samples) into 3 classes", "a training part of 252, a validation part of 72 and a test part of 36", "AdamW",
        "learning rate 0.0031 at its largest", "range test", "mini-batches of 32", "weight decay 0.1", "dropout with probability 0.2",
        "epoch 8 of 12", "accuracy was 0.973 (95 % confidence interval [0.953, 0.993])", "gradient boosting, reached 0.991",
        "Pellucid 0.1.0, PyTorch 2.13.0 and Python 3.11.7 on A Processor, seed 4",
    ):  # fmt: skip
        assert piece.replace(" samples", " samples") in found["english"].replace(wording.THIN, " "), piece
    for piece in ("AdamW", "准确率为 0.973", "第 8 轮", "随机种子为 4", "梯度提升"):
        assert piece in found["chinese"], piece
    assert not re.search("[A-Za-z]{4,} [a-z]{3,} [a-z]{2,}", found["chinese"])
    assert "version = {0.1.0}" in found["citation"]
    assert "year    = {2026}" in found["citation"]


def test_an_own_network_is_called_so(tmp_path):
    assert "The network is our own, MyNet," in methods.content(read_records(write_run(tmp_path, custom=True)))["english"]


def test_nothing_to_write_about(tmp_path):
    assert isinstance(methods.content(read_records(write_run(tmp_path, without=("scores", "evaluation", "summary")))), Absent)


@pytest.mark.parametrize(
    ("reference", "config", "command"),
    [
        ({"source": "my data.csv", "target": "kind"}, {}, "pellucid fit 'my data.csv' --target kind --epochs 12 --seed 4"),
        ({"source": "a.csv", "target": ["x", "y"]}, {"header": False}, "pellucid fit a.csv --target x,y --epochs 12 --seed 4 --no-header"),
        ({"source": "iris"}, {"network_options": {"hidden": [8, 4]}}, "pellucid fit iris --epochs 12 --seed 4 --network-option hidden=8,4"),
        ({"source": "iris", "target": None}, {"until": "accuracy>=0.9"}, "pellucid fit iris --epochs 12 --seed 4 --until 'accuracy>=0.9'"),
        (None, {}, "pellucid.fit(data, epochs=12, seed=4)"),
        ({"source": "iris", "target": None}, {"network": "python:MyNet"}, "pellucid.fit('iris', epochs=12, seed=4, network=MyNet)"),
    ],
)  # fmt: skip
@pytest.mark.skipif("sys.platform == 'win32'", reason="the system's own shell quotes otherwise")
def test_the_command(tmp_path, reference, config, command):
    assert reproduction.content(read_records(write_run(tmp_path, reference=reference, config=config)))["command"] == command


def test_the_configuration_is_toml_with_nothing_left_to_choose(tmp_path):
    name = 'quotes " and \\ and\nlines and \x7f 列'
    found = reproduction.content(read_records(write_run(tmp_path, reference={"source": name, "target": "kind"}, config={"group": name})))
    stored = tomllib.loads(found["configuration"])
    assert stored["data"] == name
    assert stored["group"] == name
    assert stored["target"] == "kind"
    assert stored["learning_rate"] == 0.0031
    assert stored["network"] == "mlp"
    assert stored["network_options"] == {"hidden": [64, 32]}


def test_hashes(tmp_path):
    directory = write_run(tmp_path)

    def hashes() -> dict[str, str]:
        return {str(name): digest for name, digest in reproduction.content(read_records(directory))["hashes"]}

    assert "weights" not in hashes()  # what is no file of tensors has no hash
    digests = []
    for run, value in (("first", 1.0), ("second", 1.0), ("third", 2.0)):  # the same tensors from another run are the same weights
        save_file({"weight": np.full(3, value)}, directory.path / "weights.safetensors", {"run": run})
        digests.append(hashes()["weights"])
    assert digests[0] == digests[1] != digests[2]
    found = hashes()
    assert found["data, all samples in order"] == hashlib.sha256(b"0123456789abcdef" * 360).hexdigest()
    assert found["split"] == hashlib.sha256(("tttttttvvs" * 36).encode()).hexdigest()


@pytest.mark.parametrize(
    ("number", "beside", "written"),
    [
        (0.97283, None, "0.973"), (-0.5, None, "−0.500"), (-0.0001, 0.9, "0.000"), (32310.4, None, "32\u202f310"), (None, None, "–"),
        (float("nan"), None, "–"), (0.0003, 0.95, "0.000"), (123.456, None, "123.5"),
    ],
)  # fmt: skip
def test_values(number, beside, written):
    assert wording.value(number, beside) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (0.0, "0 FLOP"),
        (999.0, "999 FLOP"),
        (1234.0, "1.23 kFLOP"),
        (6.15e9, "6.15 GFLOP"),
        (2.5e18, "2.5 EFLOP"),
        (None, "–"),
        (float("inf"), "–"),
    ],
)
def test_amounts(amount, written):
    assert wording.scaled(amount, "FLOP") == written


def test_numbers_of_the_users_data_have_no_more_digits_than_they_need() -> None:
    written = [wording.quantity(number) for number in (0.1 + 0.2, 1 / 3, -2.0, 1234567.0, 1e-7 / 3, 12345.6789)]
    assert written == ["0.3", "0.333333", "−2", "1234567", "3.33333e−08", "12345.7"]


def test_a_card_shows_cells_as_a_person_writes_them(tmp_path):
    found = mistakes_of("classification", ("cat", "dog", "owl"), ("width", "height"))
    values = {"width": 0.30000000000000004, "height": None, "kind": "x" * 500}
    worst = replace(found.mistakes[0], values=values, identifier="row 5")
    directory = write_run(tmp_path, records={"mistakes": replace(found, mistakes=(worst,))})
    (card,) = mistakes.content(read_records(directory))["first"]
    assert card["values"] == [("width", "0.3"), ("height", "–"), ("kind", "x" * 199 + "…")]
    assert "第 5 行" in Page(write(directory).read_text("utf-8")).words("zh")


@pytest.mark.parametrize(
    ("option", "english"),
    [
        ("flip", "mirrored left to right at random"),
        ("alternating_flip,shift:2", "mirrored left to right in every second epoch, shifted by up to 2 pixels, reflected at the border"),
        ("shift_zero,cutout:8,mixup:0.2",
         "shifted, black at the border, squares of 8 pixels a side cut out, pairs mixed (mixup, alpha 0.2)"),
        ("shift_flip", "mirrored left to right at random, shifted, reflected at the border"),
        ("a_later_versions:3", "a_later_versions:3"),
    ],
)  # fmt: skip
def test_augmentations_in_words(option: str, english: str) -> None:
    told = wording.augmentations(option)
    assert ", ".join(str(item) for item in told) == english
    assert all(isinstance(item, str) or re.search("[一-鿿]", item.render("zh")) for item in told)


def test_every_option_of_ours_has_words() -> None:
    """A name that training knows and the report does not would stand in a paper as our program spells it."""
    from pellucid.core.options import BY_NAME
    from pellucid.training.augmentation import AUGMENTATIONS

    assert set(AUGMENTATIONS) - {"none"} == set(wording.AUGMENTATION_NAMES)
    for option, names in (("optimizer", wording.OPTIMIZER_NAMES), ("schedule", wording.SCHEDULE_NAMES), ("loss", wording.LOSS_NAMES)):
        assert set(BY_NAME[option].choices or ()) - {"auto"} <= set(names), option


def test_a_run_that_is_being_trained_is_not_called_interrupted(tmp_path):
    unfinished = ("scores", "evaluation", "mistakes", "baselines", "network", "summary", "findings", "cost")
    directory = write_run(tmp_path, without=unfinished)
    with directory.lock():
        words = words_of(directory)
    assert "the training is running" in words
    assert "interrupted" not in words
    assert "pellucid resume" not in words
    assert "interrupted" in words_of(directory)
