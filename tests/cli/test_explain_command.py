"""`pellucid explain`: a row, a text and an image of runs, in the user's own terms."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cli.conftest import Called
from pellucid.cli import main

OPTIONS = ["--no-baselines", "--no-report", "--language", "en"]


def trained(folder: Path, source: str, *options: str) -> str:
    assert main.run(["fit", source, *options, *OPTIONS, "--directory", str(folder / "runs")]) == 0
    return str(next(path for path in (folder / "runs").iterdir() if path.is_dir()))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A table whose answer is given by the city, and a little by the age."""
    folder, generator = tmp_path_factory.mktemp("people"), random.Random(0)
    lines = ["年龄,城市,answer"]
    for _ in range(120):
        age, city = generator.randint(18, 80), generator.choice(["Paris", "北京", "Lima", "Oslo"])
        lines.append(f"{age},{city},{'yes' if (city in ('Paris', '北京')) else 'no'}")
    path = folder / "people.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return trained(folder, str(path), "--target", "answer", "--epochs", "30", "--network-option", "hidden=8"), path


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Texts, of which two words decide."""
    folder, generator = tmp_path_factory.mktemp("reviews"), random.Random(0)
    filling = ["the", "film", "was", "a", "story", "about", "people", "in", "town"]
    lines = ["review,opinion"]
    for _ in range(200):
        words, good = generator.choices(filling, k=9), generator.random() < 0.5
        words.insert(generator.randrange(9), "great" if good else "awful")
        lines.append(f"{' '.join(words)},{'positive' if good else 'negative'}")
    path = folder / "reviews.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return trained(folder, str(path), "--target", "opinion", "--epochs", "10", "--learning-rate", "0.01", "--network-option", "filters=16")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("digits")
    assert main.run(["fit", "digits", "--epochs", "1", "--no-baselines", "--no-report", "--directory", str(folder / "runs")]) == 0
    return str(next(path for path in (folder / "runs").iterdir() if path.is_dir()))


def test_a_row_in_its_own_columns_and_values(call: Callable[..., Called], people: tuple[str, Path]) -> None:
    """One-hot columns are one column again, and the column that decides stands first."""
    run, path = people
    row = path.read_text(encoding="utf-8").splitlines()[17].split(",")
    code, out, _ = call("explain", run, "--row", "17", "--json")
    answer = json.loads(out)
    (part,) = answer["parts"]
    assert code == 0
    assert (answer["sample"], answer["actual"], answer["explained"]) == ("row 17", row[2], answer["answer"])
    assert dict(zip(part["names"], part["values"], strict=True)) == {"年龄": row[0], "城市": row[1]}
    by_name = dict(zip(part["names"], part["attributions"], strict=True))
    assert by_name["城市"] > 3 * abs(by_name["年龄"])
    assert answer["certificate"] is None
    assert answer["output_value"] - answer["reference_value"] == pytest.approx(sum(part["attributions"]), abs=1e-4)


def test_the_answer_says_how_rows_are_counted_and_adds_up(call: Callable[..., Called], people: tuple[str, Path]) -> None:
    code, out, _ = call("explain", people[0], "--row", "17", "--language", "en")
    assert code == 0
    said = " ".join(out.split())
    assert re.search(r"row 17 \(counted from 1, a (training|validation|test) sample\)\s+The network says", said)
    assert "groups that were given" not in said
    assert said.lower().count("method: shapley values") == 1
    assert re.search(r"the output explained is \S+ at the reference and \S+ for this sample: a change of \S+ all contributions", said)


@pytest.mark.parametrize("method", ["shapley", "integrated_gradients"])
def test_the_columns_add_up_to_what_the_answer_changes(call: Callable[..., Called], people: tuple[str, Path], method: str) -> None:
    """Whether a method gives a number a column or one an entry: no column is counted twice. The reference is one point."""
    run, _ = people
    _, out, _ = call("explain", run, "--row", "3", "--method", method, "--baseline", "mean", "--json")
    _, other, _ = call("explain", run, "--row", "3", "--method", "integrated_gradients", "--baseline", "mean", "--json")
    ours, theirs = (sum(json.loads(said)["parts"][0]["attributions"]) for said in (out, other))
    assert ours == pytest.approx(theirs, rel=0.02)


def test_a_class_by_its_name(call: Callable[..., Called], people: tuple[str, Path]) -> None:
    run, path = people
    said = [json.loads(call("explain", run, str(path), "--row", "4", "--target", name, "--json")[1]) for name in ("yes", "no")]
    assert [answer["explained"] for answer in said] == ["yes", "no"]
    assert said[0]["parts"][0]["attributions"][1] * said[1]["parts"][0]["attributions"][1] < 0


def test_words(call: Callable[..., Called], reviews: str) -> None:
    code, out, _ = call("explain", reviews, "--text", "Not a great film about awful towns", "--target", "positive", "--language", "en")
    assert code == 0
    lines = [line for line in out.splitlines() if "|" in line]
    assert "raises positive" in lines[0]
    assert {lines[1].split()[0], lines[2].split()[0]} == {"great", "awful"}
    assert "2 of 7 words are unknown to the network, which reads all such words as one: Not, towns" in " ".join(out.split())
    assert "--certify" in out


def test_an_image_as_a_page_in_both_languages(call: Callable[..., Called], digits: str, tmp_path: Path) -> None:
    picture, page = tmp_path / "数字.png", tmp_path / "页面.html"
    Image.new("L", (8, 8), 0).save(picture)
    code, out, _ = call("explain", digits, str(picture), "--output", str(page), "--method", "saliency", "--even-if-untrusted")
    written = page.read_text(encoding="utf-8")
    assert code == 0
    assert "数字.png" in out
    assert "Trust:" in out
    assert 'src="data:image/png' in written
    assert "http://" not in written
    assert "https://" not in written


def test_a_picture(call: Callable[..., Called], people: tuple[str, Path], tmp_path: Path) -> None:
    run, _ = people
    code, _, _ = call("explain", run, "--row", "2", "--output", str(tmp_path / "row.png"), "--even-if-untrusted")
    assert code == 0
    with Image.open(tmp_path / "row.png") as picture:
        assert picture.width > 300


BAD = {
    "a row outside": (["--row", "900"], "row 1 to row 120"),
    "nothing asked": ([], "nothing to explain"),
    "several rows": (["{table}"], "--row 1"),
    "a text of a table": (["--text", "hello"], "has not learnt from texts"),
    "a text and a row": (["--text", "hello", "--row", "1"], "one sample"),
    "an unknown method": (["--row", "1", "--method", "shaply"], "did you mean 'shapley'"),
    "an unknown class": (["--row", "1", "--target", "yess"], "did you mean 'yes'"),
    "a file of another kind": (["--row", "1", "--output", "page.pdf"], ".html"),
    "an empty text": (["--text", " "], "the text is empty"),
    "a huge seed": (["--row", "1", "--seed", "9" * 25], "2**63 - 1"),
    "an unknown reference": (["--row", "1", "--baseline", "blurr"], "did you mean 'blur'"),
    "no such file": (["missing.csv", "--row", "1"], "missing.csv"),
    "two rows": (["--row", "3", "--row", "4"], "--row is given 2 times: 3, 4"),
    "two classes": (["--row", "3", "--target", "yes", "--target", "no"], "--target is given 2 times"),
    "a number for a reference": (["--row", "1", "--baseline", "0.5"], "one of auto, zero"),
    "columns blurred": (["--row", "1", "--baseline", "blur"], 'baseline is "blur" and an input has no neighbouring values'),
    "an image of a table": (["{folder}/there.png"], "for example --row 1"),
    "no such image": (["missing.png"], "there is no file missing.png"),
    "a method that cannot be applied": (["--row", "1", "--method", "grad_cam"], "integrated_gradients"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(call: Callable[..., Called], people: tuple[str, Path], name: str) -> None:
    run, path = people
    arguments, words = BAD[name]
    Image.new("L", (8, 8)).save(path.parent / "there.png")
    given = (argument.format(table=path, folder=path.parent) for argument in arguments)
    code, _, err = call("explain", run, *given, "--language", "en")
    assert code == 2
    assert words in err.replace("\n  ", " ")


@pytest.mark.parametrize("command", ["explain", "diagnose"])
def test_where_the_page_cannot_be_written_is_said_first(call: Callable[..., Called], tmp_path: Path, command: str) -> None:
    """Before the run is read: there is none."""
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.html").mkdir()
    for output, code, words in (
        (tmp_path / "file" / "page.html", 1, "a file of that name is in the way"),
        (tmp_path / "folder.html", 2, "is a folder"),
        (tmp_path / "page.pdf", 2, ".html"),
        (tmp_path / ("n" * 300 + ".html"), 1, "could not be read or written"),
    ):
        row = ("--row", "1") if command == "explain" else ()
        found, _, err = call(command, str(tmp_path / "no-run"), *row, "--output", str(output), "--language", "en")
        assert (found, words in err.replace("\n  ", " ")) == (code, True), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.html"]


def test_a_text_of_unknown_words(call: Callable[..., Called], reviews: str) -> None:
    code, out, _ = call("explain", reviews, "--text", "zzz !!", "--language", "en")
    assert code == 0
    assert "none of these words is known to the network" in " ".join(out.split())


def test_an_image_has_no_rows_and_a_number_is_no_title(call: Callable[..., Called], digits: str, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 90).save(tmp_path / "seven.png")
    code, _, err = call("explain", digits, str(tmp_path / "seven.png"), "--row", "3", "--language", "en")
    assert (code, "seven.png, the only sample of these data" in err, "leave --row out" in err) == (2, True, True)
    code, out, _ = call("explain", digits, "--row", "3", "--language", "en")
    assert (code, out.startswith("sample 3 (")) == (0, True)


def test_a_file_that_is_no_image(call: Callable[..., Called], digits: str, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("no image")
    code, _, err = call("explain", digits, str(tmp_path / "no.png"), "--language", "en")
    assert code == 2
    assert "no.png" in err
    assert "What to do" in err


def test_no_run(call: Callable[..., Called], tmp_path: Path) -> None:
    code, _, err = call("explain", str(tmp_path), "--row", "1", "--language", "en")
    assert code == 2
    assert "run" in err
