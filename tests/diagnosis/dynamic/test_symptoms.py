"""The verdict on simulated curves whose truth is known: how often it cries wolf, and how often it sees the wolf."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from simulated import Truth, simulate

from pellucid.core.errors import OptionError
from pellucid.core.records import Change, Finding, Interval, Score
from pellucid.diagnosis import registry
from pellucid.diagnosis.dynamic.curves import Curves
from pellucid.diagnosis.dynamic.noise import difference_interval, falling, interval_of, scatter
from pellucid.diagnosis.dynamic.observations import LayerSeries, Look, LossFacts, Observations
from pellucid.diagnosis.registry import symptom, symptoms
from pellucid.diagnosis.symptoms.underfitting import fall_at_end
from pellucid.diagnosis.verdict import verdict

SEEDS = 200


def forecast(train: float, held_out: float, simple: dict[str, float], interval: float = 0.01) -> Curves:
    """Of a series whose later part is harder: scores of MASE, 1 of the seasonal naive forecast."""
    scores = {
        "train": Score(name="mase", value=train, higher_is_better=False, samples=60),
        "validation": Score(name="mase", value=held_out, higher_is_better=False, samples=9,
                            interval=Interval(low=held_out - interval, high=held_out + interval)),
    }  # fmt: skip
    return Curves(primary="mase", simple=simple, simple_name="ridge", train=scores["train"], validation=scores["validation"])


@pytest.mark.parametrize(
    ("curves", "symptom_name", "level", "says"),
    [
        (forecast(0.2, 0.5, {"train": 0.21, "validation": 0.52}), "generalisation", "good", "no worse than the simple ones"),
        (forecast(0.2, 0.6, {"train": 0.4, "validation": 0.5}), "overfitting", "advice", "does not carry over"),
        (forecast(0.4, 1.31, {"train": 0.4, "validation": 1.1}), "generalisation", "advice", "No better than a simple forecast"),
    ],
)
def test_a_forecast_is_judged_beside_the_simple_one(curves: Curves, symptom_name: str, level: str, says: str) -> None:
    """The error of a later part alone says nothing: 0.2 against 0.5 is no overfitting where the simple forecast has the same gap."""
    (finding,) = verdict(curves)
    assert (finding.symptom, finding.level) == (symptom_name, level)
    assert says in str(finding.summary)
    assert ("smaller network" in str(finding.remedy)) == (symptom_name == "overfitting")


def test_worse_than_a_constant_answer_is_no_good_fit() -> None:
    scores = {part: Score(name="r2", value=value, samples=30, interval=Interval(low=value - 3, high=value + 1)) for part, value in
              (("train", 0.5), ("validation", -0.4))}  # fmt: skip
    (finding,) = verdict(Curves(primary="r2", trivial=0.0, train=scores["train"], validation=scores["validation"]))
    assert finding.level == "advice"
    assert "Worse than a constant answer" in str(finding.summary)


MEMORISED = Truth(train=1.0, new=0.8, rise=0.03, validation_samples=200)
RISEN = Truth(rise=0.03)
GUESSING = Truth(train=0.52, new=0.51, floor=0.68, loss_gap=0.0)

HEALTHY = {
    "usual": Truth(),
    "50 validation samples": Truth(validation_samples=50),
    "20 validation samples": Truth(validation_samples=20),
    "10 000 validation samples": Truth(validation_samples=10_000),
    "ten easy classes": Truth(train=1.0, new=0.985, trivial=0.1, validation_samples=270, floor=0.01, loss_gap=0.05),
    "27 samples, three classes": Truth(train=1.0, new=0.98, trivial=0.4, validation_samples=27, floor=0.01, loss_gap=0.05),
    "a large noisy table": Truth(train=0.866, new=0.862, trivial=0.76, validation_samples=5000, floor=0.3),
    "the same, its noise learnt a little": Truth(train=0.884, new=0.868, trivial=0.76, validation_samples=5000, floor=0.28),
    "regression": Truth(kind="regression", train=0.82, new=0.80, floor=0.18, validation_samples=2000),
    "small noisy regression": Truth(kind="regression", train=0.52, new=0.50, floor=0.48, validation_samples=66),
    "few epochs": Truth(epochs=12, time_constant=2.0),
    "wild scatter": Truth(scatter=0.08),
    "long and stopped early": Truth(epochs=200, stopped="patience"),
    "a rise too small to matter": Truth(rise=0.0005, epochs=50),
}
# symptom, levels, truth, detection power we promise
SICK = {
    "20 points lost": ("overfitting", {"fault"}, MEMORISED, 0.99),
    "20 points lost, 50 samples": ("overfitting", {"fault", "advice"}, replace(MEMORISED, validation_samples=50), 0.80),
    "10 points lost, no rise": ("overfitting", {"fault", "advice"}, replace(MEMORISED, new=0.9, rise=0.0), 0.95),
    "R² 0.98 against 0.70": (
        "overfitting",
        {"fault"},
        Truth(kind="regression", train=0.98, new=0.7, floor=0.02, validation_samples=200),
        0.99,
    ),
    "noise of a large table learnt by heart": (
        "overfitting",
        {"fault"},
        Truth(train=0.95, new=0.84, trivial=0.76, validation_samples=2000),
        0.95,
    ),
    "rise, last weights kept": ("overfitting", {"fault"}, replace(RISEN, keep_best=False), 0.99),
    "the same, 50 samples": ("overfitting", {"fault"}, replace(RISEN, keep_best=False, validation_samples=50), 0.95),
    "rise, best weights kept, 29 epochs lost": ("overfitting", {"advice"}, RISEN, 0.99),
    "guessing": ("underfitting", {"fault"}, GUESSING, 0.99),
    "a third of the epochs needed": ("underfitting", {"advice"}, Truth(train=0.8, new=0.8, epochs=10, time_constant=10.0), 0.90),
    "four epochs of many": ("underfitting", {"advice"}, Truth(train=0.8, new=0.8, epochs=4, time_constant=4.0), 0.95),
    "100 epochs of 300": ("underfitting", {"advice"}, Truth(train=0.8, new=0.8, epochs=100, time_constant=80.0), 0.95),
}


def alarms(findings: tuple[Finding, ...]) -> set[tuple[str, str]]:
    return {(finding.symptom, finding.level) for finding in findings if finding.level != "good"}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_curves_raise_hardly_any_alarm(name: str) -> None:
    false = sum(bool(alarms(verdict(simulate(HEALTHY[name], seed)))) for seed in range(SEEDS))
    assert false / SEEDS <= 0.03


@pytest.mark.parametrize("name", SICK)
def test_power(name: str) -> None:
    kind, levels, truth, power = SICK[name]
    seen = sum(any((kind, level) in alarms(verdict(simulate(truth, seed))) for level in levels) for seed in range(SEEDS))
    assert seen / SEEDS >= power


def test_every_registered_symptom_has_a_case_that_shows_it() -> None:
    ours = {name for name, function in symptoms(reads=Curves).items() if function.__module__.startswith("pellucid.")}
    assert ours == {kind for kind, *_ in SICK.values()}


@pytest.mark.parametrize("truth", [MEMORISED, RISEN, GUESSING, Truth(), *(case[2] for case in SICK.values())])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_finding_says_its_numbers_and_survives_storage(truth: Truth, language: str) -> None:
    for finding in verdict(simulate(truth, 0)):
        sentence = finding.summary.render(language)
        assert any(character.isdigit() for character in sentence)
        assert "{" not in sentence
        assert 0 <= finding.confidence <= 1
        assert finding.remedy is not None or finding.level == "good"
        assert Finding.from_dict(finding.to_dict()) == finding


def test_memorising_with_the_best_weights_kept_is_told_from_harm_and_its_cost_is_said() -> None:
    (kept, *_) = verdict(simulate(RISEN, 1))
    assert "The network that was kept does not overfit: its weights are those of epoch " in kept.summary.render("en")
    assert "of 40 epochs" in kept.summary.render("en")
    (soon_stopped, *_) = verdict(simulate(replace(RISEN, epochs=22, stopped="patience"), 1))
    assert (soon_stopped.symptom, soon_stopped.level) == ("overfitting", "good")


@pytest.mark.parametrize(
    ("end", "level"), [(0.90, "fault"), (0.949, "advice"), (0.955, "advice"), (None, "fault")], ids=["falls", "stays", "rises", "unknown"]
)
def test_a_rise_of_the_loss_that_costs_no_score_is_an_advice(end: float | None, level: str) -> None:
    losses = (0.50, 0.30, 0.20, 0.15, 0.15, 0.16, 0.18, 0.20, 0.22, 0.25)
    curves = Curves(
        primary="accuracy", train=Score(name="accuracy", value=(end or 0.95) + 0.005, samples=2000), trivial=0.5,
        epochs=tuple(range(1, 11)),
        test=Score(name="accuracy", value=end or 0.95, samples=2000), train_loss=tuple(0.5 - 0.045 * n for n in range(10)),
        validation_loss=losses, validation_score=(0.7, 0.8, 0.9, 0.95, *[0.95] * 2, *[end] * 4) if end else (),
    )  # fmt: skip
    found = [finding for finding in verdict(curves) if finding.symptom == "overfitting"]
    assert [finding.level for finding in found] == [level]
    if level == "advice":
        assert found[0].evidence["score_now"] == end


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("accuracy", [0.7, 0.85])
def test_one_or_two_epochs_are_too_short_to_judge_and_no_underfitting(epochs: int, accuracy: float) -> None:
    """Nobody can tell whether the loss was still falling: no claim that the network has learnt too little, and no praise either."""
    (finding,) = verdict(simulate(Truth(train=accuracy, new=accuracy, epochs=epochs), 0))
    assert (finding.symptom, finding.level) == ("too_short", "advice")
    assert "Underfitting" not in str(finding.summary)
    assert f"--epochs {10}" in str(finding.remedy)


@pytest.mark.parametrize("name", ["rise, last weights kept", "20 points lost", "guessing", "a third of the epochs needed"])
def test_a_training_of_ones_own_has_epochs_and_evaluations_and_no_options_of_fit(name: str) -> None:
    curves = replace(simulate(SICK[name][2], 0), epochs_trained=12, kept_epoch=None)
    (finding, *_) = verdict(curves)
    assert (finding.symptom, finding.level) in {(SICK[name][0], level) for level in SICK[name][1]}
    said = f"{finding.summary} {finding.remedy}"
    assert "--" not in said
    assert "best_epoch" not in finding.evidence
    if finding.symptom == "underfitting":
        assert finding.change == Change(kind="epochs", values={"epochs": 36})
        assert "epochs=36" in said
    if name == "a third of the epochs needed":
        assert "ended after epoch 12" in said
        assert "over the last 3 of 10 evaluations" in said
    if name == "rise, last weights kept":
        assert f"after evaluation {finding.evidence['best_evaluation']} of 40" in said
    kept = simulate(RISEN, 1)
    assert alarms(verdict(replace(kept, epochs_trained=12, kept_epoch=None))) <= {("overfitting", "fault")}
    assert not any("does not overfit" in str(one.summary) for one in verdict(replace(kept, epochs_trained=12)))


def test_divergence_is_not_called_overfitting() -> None:
    epochs = range(30)
    both = tuple(0.5 + abs(10 - t) * 0.05 for t in epochs)  # training and validation loss fall and rise together
    curves = replace(simulate(Truth(epochs=30), 0), train_loss=both, validation_loss=both)
    assert not [finding for finding in verdict(curves) if finding.symptom == "overfitting"]


def test_a_network_that_learnt_nothing_does_not_overfit() -> None:
    curves = Curves(
        primary="accuracy", trivial=0.5, trivial_loss=0.693, epochs=tuple(range(1, 9)),
        train_loss=(0.696, 0.695, 0.694, 0.694, 0.693, 0.693, 0.692, 0.692),
        validation_loss=(0.690, 0.691, 0.692, 0.693, 0.694, 0.695, 0.695, 0.695),
    )  # fmt: skip
    assert not [finding for finding in verdict(curves) if finding.symptom == "overfitting"]
    risen = replace(curves, validation_loss=(0.690, 0.70, 0.72, 0.75, 0.78, 0.81, 0.84, 0.87))
    assert [finding for finding in verdict(risen) if finding.symptom == "overfitting"]


@pytest.mark.parametrize(("accuracy", "losses", "told"), [
    (0.03, (-1.2, -20.0, -75.0), True),
    (0.03, (1.2, 20.0, 75.0), False),  # it is the loss that fails
    (0.9, (-0.4, -0.8, -0.9), False),  # minus a gain
    (0.3, (-1.2, -20.0, -75.0), False),  # not surely below
])  # fmt: skip
def test_a_loss_that_asks_for_wrong_answers(accuracy: float, losses: tuple[float, ...], told: bool) -> None:
    curves = Curves(
        primary="accuracy", trivial=0.38, epochs=(1, 2, 3), train_loss=losses, train=Score(name="accuracy", value=accuracy, samples=100)
    )
    assert told == any(finding.cause == "flipped_gradient" for finding in verdict(curves))


def test_a_loss_of_exactly_0_does_not_rise() -> None:
    curves = Curves(primary="accuracy", trivial=0.6, epochs=tuple(range(1, 9)), train_loss=(0.0,) * 8, validation_loss=(0.0,) * 8)
    assert not [finding for finding in verdict(curves) if finding.symptom == "overfitting"]


def test_an_annealed_schedule_is_no_sign_of_too_few_epochs() -> None:
    epochs = 40
    rate = tuple(1.0 if t < 20 else (40 - t) / 40 for t in range(epochs))
    course = tuple((0.4 + 0.6 * 2.7 ** (-t / 3)) * min(1.0, rate[t] + 0.2) for t in range(epochs))  # falls again as the rate does
    curves = replace(simulate(Truth(train=0.9, new=0.9), 0), train_loss=course, validation_loss=course, learning_rate=rate)
    assert alarms(verdict(curves)) == set()
    assert ("underfitting", "advice") in alarms(verdict(replace(curves, learning_rate=(1.0,) * epochs)))


def test_a_rare_class_is_not_underfitting_when_the_loss_has_learnt() -> None:
    curves = replace(
        simulate(Truth(train=0.981, new=0.981, trivial=0.98), 0), train_loss=(0.03,) * 40, trivial_loss=0.098, stopped="patience"
    )
    (finding,) = verdict(curves)
    assert finding.symptom == "generalisation"
    assert "class-weight" in str(finding.remedy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": None, "validation": None, "test": None}, "cannot be judged"),
        ({"validation": None}, "test part"),
        ({"validation": None, "validation_loss": (), "validation_loss_stderr": ()}, "test part"),
        ({"epochs": (), "train_loss": (), "validation_loss": (), "validation_loss_stderr": (), "learning_rate": ()}, "validation part"),
        ({"trivial": None, "trivial_loss": None}, "A good fit"),
        ({"validation_loss": (float("nan"),) * 40}, "A good fit"),
        ({"kept_epoch": None}, "A good fit"),
    ],
)
def test_missing_evidence(changes: dict[str, object], words: str) -> None:
    (finding,) = verdict(replace(simulate(Truth(), 3), **changes))
    assert words in finding.summary.render("en")


def test_lower_is_better_metrics_are_judged_the_right_way_round() -> None:
    def score(value: float) -> Score:
        return Score(name="rmse", value=value, interval=Interval(low=value * 0.95, high=value * 1.05), higher_is_better=False, samples=500)

    sick = Curves(primary="rmse", train=score(10), validation=score(60), trivial=100.0)
    well = Curves(primary="rmse", train=score(50), validation=score(52), trivial=100.0)
    lazy = Curves(primary="rmse", train=score(96), validation=score(97), trivial=100.0)
    assert alarms(verdict(sick)) == {("overfitting", "fault")}
    assert alarms(verdict(well)) == set()
    assert alarms(verdict(lazy)) == {("underfitting", "fault")}


def test_remedies_are_options_that_exist_and_are_not_in_use_already() -> None:
    import re

    from pellucid.core.options import BY_NAME

    images = replace(simulate(MEMORISED, 0), input_shape=(1, 8, 8))
    said = str(verdict(images)[0].remedy)
    assert "--augment shift" in said
    assert "--dropout 0.3" in said
    assert all(name.replace("-", "_") in BY_NAME for name in re.findall(r"--([a-z-]+)", said))
    shifted = replace(images, settings={"augment": "flip,shift:2", "without_effect": ["dropout", "weight_decay"]})
    said = str(verdict(shifted)[0].remedy)
    assert "--augment flip,shift:2,cutout" in said
    assert "dropout" not in said
    assert "weight-decay" not in said
    used = replace(images, settings={"augment": "shift,cutout", "dropout": 0.5, "weight_decay": 0.1})
    said = str(verdict(used)[0].remedy)
    assert "augment" not in said
    assert "dropout" not in said
    assert "--weight-decay 1" in said
    linear = replace(simulate(GUESSING, 0), settings={"network": "logistic", "learning_rate": 0.1})
    assert "--network mlp" in str(verdict(linear)[0].remedy)
    assert "--learning-rate auto" in str(verdict(linear)[0].remedy)
    known = replace(linear, settings={"learning_rate": 0.12, "chosen": ["learning_rate"]})  # our own choice, not the user's
    assert "--learning-rate" not in str(verdict(known)[0].remedy)


# -- the registry -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_symptoms", dict(symptoms()))
    monkeypatch.setattr(registry, "_from_packages", dict)


@pytest.mark.usefixtures("own_registry")
def test_a_users_symptom_is_looked_for_and_one_that_fails_does_not_stop_the_others() -> None:
    from pellucid.core.language import text

    @symptom("slow_start")
    def slow_start(curves: Curves) -> list[Finding]:
        return [Finding(symptom="slow_start", summary=text("the first epoch took half of the loss"), remedy=text("warm up"))]

    @symptom("broken")
    def broken(curves: Curves) -> list[Finding]:
        raise KeyError("no such column")

    found = {finding.symptom: finding for finding in verdict(simulate(MEMORISED, 0))}
    assert set(found) == {"overfitting", "slow_start", "broken"}
    assert "KeyError" in found["broken"].summary.render("en")
    with pytest.raises(OptionError, match="slow_start"):

        @symptom("slow_start")
        def another(curves: Curves) -> None:
            return None


def test_symptoms_of_other_packages_come_from_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    offered = [
        EntryPoint("good_one", "pellucid.diagnosis.symptoms.overfitting:overfitting", registry.ENTRY_POINT_GROUP),
        EntryPoint("bad_one", "no_such_package:symptom", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry for entry in offered if entry.group == group])
    registry._from_packages.cache_clear()
    try:
        assert {"good_one", "bad_one"} <= set(symptoms())
        found = {finding.symptom for finding in verdict(simulate(Truth(), 0))}
        assert "bad_one" in found  # said, and nothing raised
    finally:
        registry._from_packages.cache_clear()


# -- noise --------------------------------------------------------------------------------------------------------------------------------


def test_interval_of_a_difference_matches_the_published_example() -> None:
    # Newcombe (1998), table II, case (a), method 10: 56/70 - 48/80 = 0.2, interval [0.0524, 0.3339]
    interval = difference_interval(Score(name="accuracy", value=56 / 70, samples=70), Score(name="accuracy", value=48 / 80, samples=80))
    assert interval is not None
    assert interval.low == pytest.approx(0.0524, abs=5e-5)
    assert interval.high == pytest.approx(0.3339, abs=5e-5)


def test_the_gaps_interval_covers_the_truth() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        first = Score(name="accuracy", value=rng.binomial(200, 0.97) / 200, samples=200)
        second = Score(name="accuracy", value=rng.binomial(50, 0.9) / 50, samples=50)
        interval = difference_interval(first, second)
        assert interval is not None
        covered += interval.low <= 0.07 <= interval.high
    assert covered >= 930


@pytest.mark.parametrize("deviation", [0.01, 0.3])
def test_scatter_sees_the_noise_and_not_the_course(deviation: float) -> None:
    noise = np.random.default_rng(0).standard_normal(400)
    assert scatter((np.linspace(5, 1, 400) + deviation * noise).tolist()) == pytest.approx(deviation, rel=0.15)


def test_falling_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    flat = [falling(rng.standard_normal(10).tolist()) > 0.98 for _ in range(1000)]
    assert sum(flat) / 1000 <= 0.03
    assert falling([5, 4, 3, 2, 1.5, 1.2]) > 0.98
    assert falling([1.0, 2.0]) == 0.5
    assert fall_at_end([1.0, 1.1, 1.2, 1.3], None) is None


def test_scores_without_an_interval() -> None:
    assert interval_of(Score(name="r2", value=0.5, samples=100)) is None
    perfect = interval_of(Score(name="accuracy", value=1.0, samples=100))
    assert perfect is not None
    assert perfect.high == pytest.approx(1.0)
    assert perfect.low == pytest.approx(0.963, abs=5e-4)


def test_each_symptom_gets_the_evidence_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_symptoms", dict(registry._symptoms))

    @symptom("watched_only", reads=Observations)
    def watched_only(seen: Observations) -> list[Finding]:
        raise AssertionError("the verdict has no observations to give")

    assert symptoms(reads=Observations)["watched_only"] is watched_only
    assert "watched_only" not in symptoms(reads=Curves)
    assert "overfitting" in symptoms(reads=Curves)
    assert "overfitting" not in symptoms(reads=Observations)
    assert not any(finding.symptom == "watched_only" for finding in verdict(simulate(Truth(), 0)))


def test_a_symptom_of_unknown_evidence_is_refused() -> None:
    with pytest.raises(OptionError, match=r"Curves.*Observations"):
        symptom("reads_tea_leaves", reads=dict)


def test_observations_come_back_from_json() -> None:
    seen = Observations(
        model="Sequential",
        steps=3,
        looks=(Look(step=0, loss=1.5), Look(step=2, loss=None, alarm=True)),
        layers=(LayerSeries(path="0", kind="Tanh", bounds=(-1.0, 1.0), mean=(0.1, None), silent=(0, 2)),),
        loss=LossFacts(values=(1.5, None), broadcast=((32, 1), (32, 32))),
        learning_rates=((0.1,), (0.01,)),
    )
    stored = json.dumps(seen.to_dict(), allow_nan=False)
    assert Observations.from_dict(json.loads(stored)) == seen
