"""What a watcher saw: the record of a real training, records written by hand, and records that somebody has damaged."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.observations import (
    BatchFacts,
    GradientFacts,
    LayerSeries,
    Look,
    LossFacts,
    Observations,
    ParameterSeries,
    TimeFacts,
)
from pellucid.report import write
from pellucid.report.records import UNREADABLE, _watched, read_records
from pellucid.report.sections import watched
from pellucid.report.sections.absent import Absent
from report.reading import Page
from report.records import HOSTILE, write_run

STEPS = (0, 10, 20, 30)
FIGURES = ["watched-loss", "watched-gradient", "watched-update", "watched-silent", "watched-rates", "watched-noise", "watched-time"]


def weight(name: str, size: float, ratio: float = 1e-3) -> ParameterSeries:
    return ParameterSeries(name=name, layer=name.rpartition(".")[0], shape=(4, 4), elements=16, gradient=(size,) * 4, ratio=(ratio,) * 4)


def rectified(path: str, dead: float, zeros: float) -> LayerSeries:
    return LayerSeries(path=path, kind="ReLU", units=8, rectifier=True, dead=(0.0, dead, dead, dead), zeros=(zeros,) * 4)


def seen_by_hand() -> Observations:
    """Ten layers, of which one has a gradient far below the rest and one has silent units."""
    return Observations(
        model="Net", steps=40, looks_made=4, looks=tuple(Look(step=step) for step in STEPS),
        layers=tuple(rectified(f"act{i}", 0.75 if i == 7 else 0.0, 0.5) for i in range(10)),
        weights=tuple(weight(f"fc{i}.weight", 1e-9 if i == 6 else 0.1 * (i + 1), 0.2 if i == 3 else 1e-3) for i in range(10)),
        loss=LossFacts(
            steps=(39,), values=(0.25,), first=2.5, noise=0.0625, trend_step=(9.5, 29.5), trend_mean=(2.0, 0.5), trend_std=(0.5, 0.125),
            trend_width=20, evaluation_steps=(20,), evaluation_values=(0.75,), evaluation_samples=(100,),
        ),
        batches=BatchFacts(size=32),
        gradients=GradientFacts(
            norm=(1.0,) * 4, raw_norm=(3.0,) * 4, noise_scale=123.0, noise_scale_steps=(10, 20), noise_scale_values=(100.0, 123.0)
        ),
        time=TimeFacts(step_seconds=(None, 0.008, 0.008, 0.008), waiting_seconds=(None, 0.002, 0.002, 0.002), overhead=0.04,
                       overhead_seconds=0.5),
        learning_rate_steps=STEPS, learning_rates=((0.1,), (0.2,), (0.1,), (0.0,)),
    )  # fmt: skip


DEAD = Finding(
    symptom="dead_relu", level="fault", confidence=0.9, where="act7", summary=text("overfitting"),
    evidence={"share": 0.75, "units": [1, 2, 5], "kind": "ReLU", "nested": {"x": 1}, "infinite": float("inf")},
    remedy=text("lower the learning rate by a factor of 10"),
)  # fmt: skip


def record(seen: Observations | None = None, findings: tuple[Finding, ...] = (DEAD,), first: int = 0) -> dict[str, Any]:
    observed = seen_by_hand() if seen is None else seen
    return {"observations": observed.to_dict(), "findings": [finding.to_dict() for finding in findings], "first_step": first}


def page_of(folder: Path, stored: Any) -> Page:
    path = write(write_run(folder, records={"watch": stored}))
    assert path.stat().st_size <= 5_000_000
    return Page(path.read_text("utf-8"))


def figures_of(folder: Path, stored: Any) -> dict[str, Any]:
    found = watched.content(read_records(write_run(folder, records={"watch": stored})))
    assert not isinstance(found, Absent)
    return {figure.name: figure for figure in found["figures"]}


def named(figure: Any) -> list[str]:
    return [str(words) for _, words in figure.legend]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A training of ours, watched, with its report."""
    run = pellucid.fit("iris", watch=True, baselines=False, directory=tmp_path_factory.mktemp("runs"), seed=0)
    return Path(run.directory)


def test_a_real_training_is_drawn(trained):
    stored = json.loads((trained / "records" / "watch.json").read_text("utf-8"))
    page = Page((trained / "report.html").read_text("utf-8"))
    assert "cannot be" not in page.source
    assert [name for name in page.identifiers if name.startswith("figure-watched") and not name.endswith("-title")] == [
        f"figure-{name}" for name in FIGURES
    ]
    words = page.words("en")
    assert f"{stored['observations']['looks_made']} of {stored['observations']['steps']} steps were watched closely" in words
    assert "What was watched" in words
    assert "训练过程观察" in page.words("zh")
    assert not page.left_in_english()
    for finding in stored["findings"]:
        assert str(Finding.from_dict(finding).summary) in words


def test_without_a_watcher_there_is_no_section(tmp_path):
    path = write(write_run(tmp_path))
    page = Page(path.read_text("utf-8"))
    assert "watched" not in page.identifiers
    assert "What was watched" not in page.words("en")


def test_findings_say_where_by_which_numbers_and_what_to_do(tmp_path):
    words = page_of(tmp_path, record()).words("en")
    section = words[words.index("of 40 steps were watched") :]
    for piece in (
        "overfitting where : act7",
        "share 0.75",
        "units 1, 2, 5",
        "kind ReLU",
        "What to do: lower the learning rate by a factor of 10",
    ):
        assert piece in section, piece
    assert "nested" not in section
    assert "infinite" not in section
    assert "✗" in section


def test_nothing_found_is_said(tmp_path):
    assert "Nothing wrong was found in the steps that were watched." in page_of(tmp_path, record(findings=())).words("en")


def test_the_numbers_are_those_of_the_record(tmp_path):
    found = watched.content(read_records(write_run(tmp_path, records={"watch": record()})))
    assert not isinstance(found, Absent)
    facts = {str(name): str(words) for name, words in found["facts"]}
    assert facts["loss of the first and the latest step"] == "2.5 → 0.25"
    assert facts["noise of a single step's loss (standard deviation)"] == "0.0625"
    assert facts["gradient noise scale"] == "123 samples, with batches of 32"
    assert facts["time of a step"] == "8 ms"
    assert facts["of which between an update and the next forward pass: data loading"] == "25 %"
    assert facts["what watching took"] == "0.5 s, 4.0 % of the time without it"


def test_the_worst_layers_are_drawn(tmp_path):
    figures = figures_of(tmp_path, record())
    assert list(figures) == FIGURES
    gradient = named(figures["watched-gradient"])
    assert gradient[:2] == ["all weights", "all weights, before clipping"]
    assert "layer fc6.weight" in gradient
    assert len(gradient) == 6
    assert "layer fc3.weight" in named(figures["watched-update"])
    assert len(named(figures["watched-update"])) == 4
    assert named(figures["watched-silent"])[0] == "layer act7"
    assert str(figures["watched-update"].caption).startswith("4 of 10")


def test_a_layer_that_a_finding_names_is_drawn(tmp_path):
    plain = replace(seen_by_hand(), weights=tuple(weight(f"fc{i}.weight", 0.1) for i in range(9)))
    blamed = replace(DEAD, where="fc8")
    assert "layer fc8.weight" in named(figures_of(tmp_path, record(plain, (blamed,)))["watched-update"])
    assert "layer fc8.weight" not in named(figures_of(tmp_path / "other", record(plain, ()))["watched-update"])


def test_steps_count_from_the_beginning_of_the_training(tmp_path):
    axis = figures_of(tmp_path, record(first=1000))["watched-gradient"].plot.x
    assert axis.low < 1000
    assert 1000 < axis.high < 1040
    assert axis.place(1000) < 0.05


def test_marks_lie_where_their_values_belong(tmp_path):
    figure = figures_of(tmp_path, record())["watched-silent"]
    solid = next(mark for mark in figure.plot.marks if 'class="line l0"' in mark)
    ends = re.findall(r"[ML]([\d.]+) ([\d.]+)", solid)
    assert [float(y) for _, y in ends] == pytest.approx([1000 * (1 - figure.plot.y.place(value)) for value in (0, 75, 75, 75)], abs=0.1)


def test_what_was_not_measured_leaves_no_figure(tmp_path):
    assert not figures_of(tmp_path, record(Observations(), ()))
    assert "What was watched" in page_of(tmp_path / "page", record(Observations(), ())).words("en")


DAMAGED = {
    "empty": {},
    "no findings": {"observations": {}},
    "a list": {"observations": [1, 2], "findings": []},
    "a number": {"observations": 3, "findings": 4},
    "findings of words": {"observations": {}, "findings": ["x"]},
    "a step that is a word": {"observations": {}, "findings": [], "first_step": "x"},
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_a_damaged_record_is_named_and_costs_its_section_only(tmp_path, name):
    page = page_of(tmp_path, DAMAGED[name])
    assert "records/watch.json cannot be read" in page.words("en")
    assert "watched" not in page.identifiers
    assert "0.854" in page.words("en")


def test_a_torn_record_is_no_crash(tmp_path):
    directory = write_run(tmp_path)
    (directory.path / "records" / "watch.json").write_text('{"observations": {"lo', encoding="utf-8")
    page = Page(write(directory).read_text("utf-8"))
    assert "records/watch.json cannot be read" in page.words("en")
    assert "watched" not in page.identifiers


WRONG = [None, 7, "x", True, [], [None], ["x", "y"], [[1]], [10**400], [float("nan"), float("inf"), -1e308, 1e308], {"a": 1}]


SOME = [None, "x", [[1]], {"a": 1}]  # the others with the slow tests


@pytest.mark.parametrize(
    "wrong", [pytest.param(wrong, marks=() if wrong in SOME else pytest.mark.slow) for wrong in WRONG], ids=lambda wrong: str(wrong)[:20]
)
def test_every_field_may_hold_anything(tmp_path, wrong):
    """Each part of the record in turn: at worst the section says that it cannot be drawn; the rest of the page stands."""
    directory = write_run(tmp_path, records={"watch": record()})
    path = directory.path / "records" / "watch.json"
    text_of_whole = path.read_text("utf-8")
    whole = json.loads(text_of_whole)

    found = read_records(directory)

    def places(stored: Any, at: tuple[Any, ...] = ()) -> Any:
        for key in stored if isinstance(stored, dict) else range(min(len(stored), 1)):
            yield (*at, key)
            if isinstance(stored[key], (dict, list)):
                yield from places(stored[key], (*at, key))

    for place in places(whole):
        edited = json.loads(text_of_whole)
        parent = edited
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = wrong
        try:
            watched.content(replace(found, watched=_watched(edited)))
        except UNREADABLE:
            continue


def test_names_cannot_harm_and_long_ones_are_cut(tmp_path):
    names = [*HOSTILE, "n" * 20_000]
    seen = replace(
        seen_by_hand(),
        weights=tuple(weight(name, 0.1 * (place + 1)) for place, name in enumerate(names)),
        layers=tuple(rectified(name, 0.5, 0.5) for name in names),
        unseen=tuple(text("layer {name}", name=name) for name in names),
    )
    findings = tuple(
        Finding(
            symptom=name, level=name, where=name, summary=text("layer {name}", name=name), remedy=text("layer {name}", name=name),
            evidence={name: name, "many": [name] * 10},
        )
        for name in names * 3
    )  # fmt: skip
    page = page_of(tmp_path, record(seen, findings))
    assert "cannot be drawn" not in page.source
    assert page.source.count("<script") == 2
    assert not [attribute for attribute in page.attributes if attribute[1].startswith("on")]
    assert "img" not in page.tags
    assert "\u202e" not in page.source
    assert "n" * 1000 not in page.source
    assert len(page.source) < 500_000
    assert "left out" in page.words("en")


def test_the_section_needs_the_records_alone(trained, tmp_path):
    """A copy without weights and checkpoints is drawn all the same."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("*.safetensors", "report.html"))
    assert "figure-watched-update" in write(copy).read_text("utf-8")
