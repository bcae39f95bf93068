"""Texts: cut into tokens, as files in folders, as rows; what cannot be read is set aside and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.kinds import preprocessing_kind_of
from pellucid.data.sequences import SequencePart
from pellucid.data.text.preprocessing import TextPreprocessing
from pellucid.data.text.vocabulary import Vocabulary, pieces, wordless

GOOD, BAD = "a fine film, worth every minute {}", "a dull film and a waste of time {}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 20 texts each, in five encodings, with a README beside them."""
    root = tmp_path / "评论"
    for label, sentence in (("good", GOOD), ("差", BAD)):
        (root / label).mkdir(parents=True)
        for number in range(20):
            written = sentence.format(f"影评 {number}")
            encoding = ("utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-8")[number % 5]
            (root / label / f"{number}.txt").write_bytes(written.encode(encoding))
    (root / "README.md").write_text("about these texts", encoding="utf-8")
    return root


def test_a_folder_per_class_in_any_encoding(folder):
    samples = data.read(folder)
    assert sorted(samples.task.classes) == ["good", "差"]
    assert len(samples) == 40
    assert sorted(samples.inputs["text"]) == sorted(sentence.format(f"影评 {n}") for sentence in (GOOD, BAD) for n in range(20))
    assert "差/3.txt" in samples.identifiers
    assert data.prepare(samples).preprocessing.kind == "text"
    again = data.sources.read_reference(samples.reference)
    assert again.hashes == samples.hashes


def test_train_and_test_folders_are_the_parts(tmp_path):
    for part, count in (("train", 12), ("test", 4)):
        for label, sentence in (("pos", GOOD), ("neg", BAD)):
            (tmp_path / "aclImdb" / part / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "aclImdb" / part / label / f"{number}.txt").write_text(sentence.format(f"{part} {number}"), encoding="utf-8")
    prepared = data.prepare(data.read(tmp_path))
    assert len(prepared.test) == 8
    assert len(prepared.train) + len(prepared.validation) == 24


def test_what_is_no_text_is_set_aside_and_named(folder):
    (folder / "good" / "empty.txt").write_text(" \n", encoding="utf-8")
    (folder / "good" / "binary.txt").write_bytes(b"abc\x00\x01def")
    (folder / "loose.txt").write_text("belongs to no class", encoding="utf-8")
    samples = data.read(folder)
    assert len(samples) == 40
    reasons = {item.identifier: str(item.reason) for item in samples.quarantined}
    assert reasons["good/empty.txt"] == "the text is empty"
    assert "zero" in reasons["good/binary.txt"]
    assert "no class folder" in reasons["loose.txt"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.txt": "some words"}, "no class folders"),
        ({"one/a.txt": "some words", "one/b.txt": "more words"}, "single class"),
        ({"one/a.txt": "x y", "two/b.txt": "", "two/c.txt": "", "two/d.txt": "z", "two/e.txt": ""}, "cannot be used"),
    ],
)
def test_folders_that_cannot_be_learnt_from(tmp_path, files, says):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        data.read(tmp_path)


def test_images_with_captions_stay_images(tmp_path):
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(2):
            Image.new("RGB", (8, 8), (number, len(label), ord(label[0]))).save(tmp_path / label / f"{number}.png")
            (tmp_path / label / f"{number}.txt").write_text("a caption", encoding="utf-8")
    assert data.read(tmp_path).kind == "images"


def rows(count: int = 60) -> pl.DataFrame:
    return pl.DataFrame(
        {"review": [(GOOD if n % 2 else BAD).format(f"nr{n}") for n in range(count)], "label": [n % 2 for n in range(count)]}
    )


def test_rows_without_a_text_are_set_aside():
    frame = rows().with_columns(pl.when(pl.arange(0, 60) < 3).then(pl.lit("  ")).otherwise(pl.col("review")).alias("review"))
    samples = data.read(frame, "label")
    assert len(samples) == 57
    assert [str(item.reason) for item in samples.quarantined] == ["the text is empty"] * 3
    with pytest.raises(DataError, match=r"of 60 rows.*the text is empty"):
        data.read(rows().with_columns(pl.when(pl.arange(0, 60) < 30).then(pl.lit("")).otherwise(pl.col("review")).alias("review")), "label")


NOTHING = {"   ": "the text is empty", "!!": "nothing but punctuation", "……，。": "nothing but punctuation", "": "the text is empty"}


@pytest.mark.parametrize("said", ["😀", "+", "3", "不"])
def test_a_symbol_or_a_number_is_a_text(said):
    assert wordless(pl.Series([said, None, *NOTHING])).keys() == set(range(1, 6))


def test_texts_without_a_word_are_counted_and_named(folder, tmp_path):
    (folder / "good" / "marks.txt").write_text("!?\n…", encoding="utf-8")
    samples = data.read(folder)
    assert {item.identifier: str(item.reason) for item in samples.quarantined} == {
        "good/marks.txt": "the text holds nothing but punctuation"
    }
    fitted = data.prepare(samples).preprocessing
    column = tmp_path / "new.csv"
    column.write_text("text\n   \na fine film\n!!\n", encoding="utf-8")  # one column: a row of blanks is a text
    wide = tmp_path / "wide.csv"
    wide.write_text("n;text\n1;   \n2;a fine film\n3;!!\n", encoding="utf-8")
    for source in (column, wide, ["   ", "a fine film", "!!"], pl.DataFrame({"text": [None, "a fine film", "!!"]})):
        new = data.read_new(source, fitted, targets="ignored")
        assert list(new.identifiers) == ["row 2"]
        assert new.inputs.to_series(0).to_list() == ["a fine film"]
        assert [item.identifier for item in new.quarantined] == ["row 1", "row 3"]
        assert ["empty" in str(item.reason) for item in new.quarantined] == [True, False]
        assert len(new.hashes) == 1
        assert not new.notices
    known = pl.DataFrame({"text": ["!!", "a fine film", "a dull film"], "class": ["good", "good", "nobody"]})
    with_classes = data.read_new(known, fitted, targets="required")
    assert [item.identifier for item in with_classes.quarantined] == ["row 3", "row 1"]
    assert len(with_classes) == len(with_classes.targets) == 1
    with pytest.raises(DataError, match=r"no text of .* can be used: row 1: the text is empty"):
        data.read_new([" ", "!"], fitted, targets="ignored")


def test_rows_of_punctuation_are_set_aside():
    frame = rows().with_columns(pl.when(pl.arange(0, 60) < 2).then(pl.lit("?!")).otherwise(pl.col("review")).alias("review"))
    assert [str(item.reason) for item in data.read(frame, "label").quarantined] == ["the text holds nothing but punctuation"] * 2


def spoken(count: int, seed: int) -> list[str]:
    """Texts of 20 words, the n-th commonest as often as 1 / n."""
    chances = 1 / np.arange(1, 4001)
    chosen = np.random.default_rng(seed).choice(4000, size=(count, 20), p=chances / chances.sum())
    return [" ".join(f"w{word}" for word in words) for words in chosen.tolist()]


def test_what_the_network_cannot_read_is_said():
    frame = pl.DataFrame({"review": spoken(400, 0), "label": [n % 2 for n in range(400)]})
    fitted = data.prepare(data.read(frame, "label")).preprocessing
    more = fitted.vocabulary.numbers(pl.Series(spoken(2000, 1)))[0]
    assert fitted.unknown_share == pytest.approx((more == 1).mean(), rel=0.05)  # the estimate and what further texts hold

    def kinds(texts):
        return {notice.kind: str(notice.summary) for notice in data.read_new(texts, fitted, targets="ignored").notices}

    assert sum(bool(kinds(spoken(30, seed))) for seed in range(2, 42)) <= 1
    assert "w1" in fitted.vocabulary.tokens
    assert "one of 2 texts holds no word that the network knows (row 2)" in kinds(["w1 w2 w3", "never read"])["unknown_texts"]
    assert set(kinds(["w1 w2 w3 w4"])) == set()
    assert set(kinds([f"{line} so many new words that nobody has ever heard" for line in spoken(30, 50)])) == {"unknown_tokens"}
    assert "one of 2 texts is longer than the 512 words" in kinds(["w1 " * 512, "w1 " * 513])["cut_texts"]
    assert fitted.input_shape == (20,)  # and yet longer texts are read
    part = preprocessing_kind_of("text").new_part(data.read_new(["w1 " * 600], fitted), fitted, labelled=False)
    assert next(iter(part.batches(8)))[0].shape == (1, 512)
    assert TextPreprocessing.from_dict(fitted.to_dict()) == fitted


def test_new_texts_in_every_form(folder, tmp_path):
    prepared = data.prepare(data.read(folder))
    fitted = prepared.preprocessing
    single = tmp_path / "new.txt"
    single.write_text("a fine film", encoding="gb18030")
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "2.txt").write_text("a waste", encoding="utf-8")
    (loose / "10.txt").write_text("worth it", encoding="utf-8")
    assert data.read_new(single, fitted).identifiers == ["new.txt"]
    assert data.read_new(loose, fitted).identifiers == ["2.txt", "10.txt"]
    assert len(data.read_new(["a fine film", "a waste"], fitted)) == 2
    for words in ("a fine film", "好看"):
        with pytest.raises(DataError, match="give it in a list"):
            data.read_new(words, fitted)
    assert len(data.read_new(pl.DataFrame({"text": ["a", "b", "c"]}), fitted)) == 3
    known = data.read_new(folder, fitted, targets="required")
    assert len(known) == 40
    assert known.targets is not None
    assert sorted(known.hashes) == sorted(data.read(folder).hashes)


def test_tokens_of_words_and_of_characters():
    words = Vocabulary.fit(pl.Series(["It's good, isn't it?", "Good: 3.5"]))
    assert words.unit == "word"
    assert set(words.tokens) >= {"it's", "good", ",", "isn't", "it", "?"}
    numbers, begins = words.numbers(pl.Series(["good GOOD zebra", "", None]))
    assert numbers.tolist() == [2, 2, 1, 1, 1]  # the commonest token's number; what is unknown, and what has no token, is 1
    assert begins.tolist() == [0, 3, 4, 5]
    assert Vocabulary.fit(pl.Series(["味道不错，送得快", "太慢了"])).unit == "character"
    assert Vocabulary.from_dict(words.to_dict()) == words


@pytest.mark.parametrize("given", ["Ärger – it's 3.5%", "味道不错, ok", "  ", "İstanbul ẞ"])
@pytest.mark.parametrize("unit", ["word", "character"])
def test_pieces_join_to_the_text(given, unit):
    assert "".join(piece for piece, _ in pieces(given, unit)) == given


def test_parts_of_unequal_length():
    lengths = np.asarray([3, 1, 40, 2, 7, 5, 1, 2, 30, 4])
    begins = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.arange(1, begins[-1] + 1, dtype=np.int32)
    part = SequencePart(tokens, begins, torch.arange(10), np.arange(10), longest=20)
    order = torch.tensor([9, 3, 2, 0, 1, 8, 7, 6, 5, 4])
    grouped = part.grouped(order, 2)
    assert sorted(grouped.tolist()) == list(range(10))
    assert torch.equal(grouped, part.grouped(order, 2))
    assert {2, 8} in [set(pair.tolist()) for pair in grouped.split(2)]  # the two long ones together
    for inputs, targets in part.batches(2, grouped):
        for row, sample in zip(inputs, targets, strict=True):
            kept = min(20, int(lengths[sample]))
            assert row[:kept].tolist() == tokens[begins[sample] : begins[sample] + kept].tolist()
            assert not row[kept:].any()
    series = SequencePart(np.random.randn(begins[-1], 3).astype(np.float32), begins, torch.arange(10), np.arange(10))
    batch = series.padded(np.asarray([0, 4]))
    assert batch.shape == (2, 3, 7)
    assert batch[0, :, 3:].isnan().all()
    assert torch.equal(batch[1].T, torch.from_numpy(series.steps[begins[4] : begins[5]]))


@pytest.mark.parametrize(
    "texts",
    [
        [f"{word} " * 9 for word in ("yes", "no")] * 30,  # two words in all
        [" ".join(str(n * k) for k in range(9)) for n in range(60)],  # only numbers
        [("long " * 40_000 + str(n)) for n in range(12)],  # 40,000 words each
        [f"bonjour 你好 hello {n} привет שלום world" for n in range(60)],
    ],
)
def test_odd_texts_are_read(texts):
    samples = data.read(pl.DataFrame({"review": texts, "label": [n % 2 for n in range(len(texts))]}), "label")
    prepared = data.prepare(samples)
    inputs, _ = next(prepared.train.batches(4))
    assert inputs.ndim == 2 or samples.columns["review"].kind != "text"
