"""Published image sets: small ones of the same form in every packing, and the real ones where the machine has them."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.core.system import cache_folder
from pellucid.data import download as downloading
from pellucid.data.download import PublishedFile
from pellucid.data.images import named
from pellucid.data.images.named import NAMED_IMAGES, NamedSet
from pellucid.data.images.packings import CifarArchive, IdxFiles
from pellucid.data.names import IMAGE_SETS, image_set_name, set_name

TRAIN, TEST = 50, 10  # of the small sets
OFFLINE = "http://127.0.0.1:9/"  # nobody answers there


def pixels_of(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (TRAIN + TEST, *shape), dtype=np.uint8)


def labels_of() -> np.ndarray:
    return np.arange(TRAIN + TEST, dtype=np.uint8) % 10


def batches() -> dict[str, bytes]:
    """CIFAR's six binary batches: a byte of label, then red, green, blue, each row by row; written here once more, by hand."""
    records = [bytes([label]) + image.tobytes() for image, label in zip(pixels_of((3, 32, 32)), labels_of().tolist(), strict=True)]
    files = {f"data_batch_{k + 1}.bin": b"".join(records[10 * k : 10 * k + 10]) for k in range(5)}
    return {**files, "test_batch.bin": b"".join(records[TRAIN:])}


def archive_of(files: dict[str, bytes], links: tuple[str, ...] = ()) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    return stream.getvalue()


def the_archive() -> bytes:
    files = {f"cifar-10-batches-bin/{name}": content for name, content in batches().items()}
    return archive_of({"cifar-10-batches-bin/readme.html": b"hello", **files, "cifar-10-batches-bin/batches.meta.txt": b"airplane\n"})


def idx(array: np.ndarray) -> bytes:
    """An IDX file: two zeros, the type (8: bytes), the number of dimensions, each size in four bytes, the numbers."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes()


def idx_files() -> dict[str, bytes]:
    pixels, labels = pixels_of((1, 28, 28))[:, 0], labels_of()
    return {
        "train-images-idx3-ubyte": idx(pixels[:TRAIN]), "train-labels-idx1-ubyte": idx(labels[:TRAIN]),
        "t10k-images-idx3-ubyte": idx(pixels[TRAIN:]), "t10k-labels-idx1-ubyte": idx(labels[TRAIN:]),
    }  # fmt: skip


def small(name: str) -> NamedSet:
    """The named set with 60 images, whose files nobody serves."""
    found = NAMED_IMAGES[name]
    layout = replace(found.layout, train=TRAIN, test=TEST)
    if name == "cifar10":
        content = the_archive()
        file = PublishedFile("cifar-10-binary.tar.gz", len(content), hashlib.sha256(content).hexdigest(), (OFFLINE + "cifar.tar.gz",))
        return replace(found, layout=layout, packings=(CifarArchive(file), *found.packings[1:]), published=(file,))
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in idx_files().items()}
    other = {hashlib.sha256(b"others").hexdigest(): "Fashion-MNIST"}
    files = tuple(PublishedFile(f"{file}.gz", 1, "0" * 32, (f"{OFFLINE}{file}.gz",)) for file in sums)
    return replace(found, layout=layout, packings=(IdxFiles(sums, other),), published=files)


@pytest.fixture(autouse=True)
def sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The named sets are small, and no place of this machine is looked at but those of the test."""
    if request.node.get_closest_marker("shared_data"):
        return
    monkeypatch.setattr(named, "NAMED_IMAGES", {name: small(name) for name in IMAGE_SETS})
    monkeypatch.setattr(named, "_shared_places", lambda: iter((Path.cwd().parent / "shared" / "data",)))
    monkeypatch.delenv("PELLUCID_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache of its own"))
    monkeypatch.setattr(downloading, "_PAUSE_SECONDS", 0.0)


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def mosaics(folder: Path, **changes: Any) -> Path:
    """The packing of five training mosaics and one test mosaic, here of 5 x 2 images."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = pixels_of((3, 32, 32))
    for k in range(6):
        tiles = pixels[10 * k : 10 * k + 10].reshape(5, 2, 3, 32, 32).transpose(0, 3, 1, 4, 2).reshape(160, 64, 3)
        Image.fromarray(tiles).save(folder / ("test.webp" if k == 5 else f"train_{k + 1}.webp"), lossless=True)
    stored = {
        "train": labels_of()[:TRAIN],
        "test": labels_of()[TRAIN:],
        "class_names": np.asarray(NAMED_IMAGES["cifar10"].layout.classes),
        **changes,
    }
    np.savez(folder / "labels.npz", **{name: value for name, value in stored.items() if value is not None})
    return folder


PACKINGS = {
    "archive": lambda folder: put(folder, {"cifar-10-binary.tar.gz": the_archive()}),
    "archive in a folder of the name": lambda folder: put(folder / "CIFAR-10", {"cifar-10-binary.tar.gz": the_archive()}).parent,
    "unpacked": lambda folder: put(folder, batches()),
    "unpacked as tar does": lambda folder: put(folder / "cifar-10-batches-bin", batches()).parent,
    "mosaics": mosaics,
    "mosaics in a folder of the name": lambda folder: mosaics(folder / "cifar10").parent,
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_of_cifar_gives_the_same_bytes(packing, tmp_path):
    folder = PACKINGS[packing](tmp_path / "data")
    samples = data.read("cifar10", data_dir=folder)
    assert np.array_equal(samples.inputs, pixels_of((3, 32, 32)))
    assert samples.targets is not None
    assert np.array_equal(samples.targets, labels_of())
    assert samples.targets.dtype == np.int64
    assert (samples.kind, samples.name, samples.mirrorable) == ("images", "cifar10", True)
    assert samples.task is not None
    assert samples.task.classes[6] == "frog"
    assert [samples.identifiers[i] for i in (0, 17, 50, 59)] == ["train/00000", "train/00017", "test/00000", "test/00009"]
    assert samples.fixed_parts is not None
    assert samples.fixed_parts.tolist() == ["train"] * TRAIN + ["test"] * TEST
    assert not samples.notices


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("form", ["{}.gz", "{}", "dotted"])
@pytest.mark.parametrize("place", ["", "{}", "{}/raw"])
def test_idx_files_however_they_lie(name, form, place, tmp_path):
    folder = tmp_path / "data" / place.format(name.replace("-", "").upper())
    files = {
        (file.replace("-idx", ".idx") if form == "dotted" else form.format(file)): gzip.compress(content)
        if form.endswith(".gz")
        else content
        for file, content in idx_files().items()
    }
    put(folder, files)
    samples = data.read(name.upper(), data_dir=tmp_path / "data")
    assert np.array_equal(samples.inputs, pixels_of((1, 28, 28)))
    assert np.array_equal(np.asarray(samples.targets), labels_of())
    assert samples.mirrorable is (name == "fashion-mnist")
    assert samples.name == name


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("cifar10", "cifar10"), ("CIFAR-10", "cifar10"), ("cifar_10", "cifar10"), ("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist"),
        ("FashionMNIST", "fashion-mnist"), ("fashion mnist", "fashion-mnist"), ("./mnist", None), ("mnist/", None),
        ("cifar100", None), (3, None),
    ],
)  # fmt: skip
def test_names(word, name):
    assert image_set_name(word) == name
    assert set_name(word) == name


@pytest.mark.parametrize(("word", "meant"), [("cifar", "cifar10"), ("minst", "mnist"), ("fashion-mnst", "fashion-mnist")])
def test_misspelled_names(word, meant):
    with pytest.raises(DataError, match=f"did you mean '{meant}'"):
        data.read(word)


def test_the_places_are_looked_at_in_their_order(tmp_path, monkeypatch):
    """data_dir, PELLUCID_DATA_DIR, the cache, ../shared/data: each has its own classes' order, by which it is known."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    places = [tmp_path / "asked", tmp_path / "variable", cache_folder() / "data", tmp_path / "shared" / "data"]
    for rank, place in enumerate(places):
        folder = mosaics(place / "cifar10", train=np.roll(labels_of()[:TRAIN], rank))
        assert folder.is_dir()
    monkeypatch.setenv("PELLUCID_DATA_DIR", str(places[1]))

    def first(**options: Any) -> int:
        targets = data.read("cifar10", **options).targets
        assert targets is not None
        return -int(targets[0]) % 10

    assert first(data_dir=places[0]) == 0
    assert first() == 1
    monkeypatch.delenv("PELLUCID_DATA_DIR")
    assert first() == 2
    for file in (places[2] / "cifar10").iterdir():
        file.unlink()
    assert first() == 3


def test_where_it_was_is_remembered_but_not_insisted_on(tmp_path):
    folder = mosaics(tmp_path / "data")
    samples = data.read("cifar10", data_dir=folder)
    assert samples.reference is not None
    assert samples.reference["source"] == "cifar10"
    assert samples.reference["own"] == {"data_dir": str(folder)}
    assert np.array_equal(data.read_reference(samples.reference).inputs, samples.inputs)
    folder.rename(tmp_path / "cifar10")
    with pytest.raises(DataError, match=r"cannot be downloaded"):
        data.read_reference(samples.reference)
    (tmp_path / "cifar10").rename(tmp_path / "moved")
    (cache_folder() / "data").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(cache_folder() / "data" / "cifar10")  # empty: made for the download
    (tmp_path / "moved").rename(cache_folder() / "data" / "cifar10")
    assert np.array_equal(data.read_reference(samples.reference).inputs, samples.inputs)


def test_offline_it_is_said_what_to_put_where(tmp_path):
    with pytest.raises(DataError) as raised:
        data.read("cifar10")
    assert f"put the file cifar-10-binary.tar.gz into {cache_folder() / 'data' / 'cifar10'}" in str(raised.value)
    with pytest.raises(DataError) as raised:
        data.read("mnist", data_dir=tmp_path)
    assert f"put the file train-images-idx3-ubyte.gz into {tmp_path / 'mnist'}" in str(raised.value)


@pytest.mark.parametrize("name", ["cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"])
def test_the_pickled_version_is_named_and_never_opened(name, tmp_path):
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "opened",))

    import pickle

    content = pickle.dumps(Trap())
    if name.endswith("-py"):
        put(tmp_path / "data" / name, {"data_batch_1": content, "batches.meta": content})
    else:
        put(tmp_path / "data", {name: content, "batches.meta": content})
    with pytest.raises(DataError, match=r"pickled version.*is not opened.*cifar-10-binary\.tar\.gz"):
        data.read("cifar10", data_dir=tmp_path / "data")
    assert not (tmp_path / "opened").exists()


def refused(name: str, folder: Path) -> str:
    with pytest.raises(DataError) as raised:
        data.read(name, data_dir=folder)
    return str(raised.value)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_an_archive_that_is_torn(cut, tmp_path):
    content = the_archive()
    put(tmp_path, {"cifar-10-binary.tar.gz": content[:cut]})
    assert f"has {len(content[:cut])} bytes and not the published checksum" in refused("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("members", "links", "words"),
    [
        ({"test_batch.bin": None}, (), "lacks test_batch.bin"),
        ({"data_batch_3.bin": b"short"}, (), "data_batch_3.bin has 5 bytes"),
        ({"data_batch_3.bin": None}, ("x/data_batch_3.bin",), "lacks data_batch_3.bin"),
        ({"../test_batch.bin": b"outside"}, (), "test_batch.bin"),
        ({"data_batch_1.bin": bytes([10]) * 30730}, (), "labels go up to 10"),
    ],
)
def test_an_archive_with_odd_members(members, links, words, tmp_path, monkeypatch):
    files: dict[str, Any] = {f"{name}": content for name, content in {**batches(), **members}.items() if content is not None}
    content = archive_of(files, links)
    file = PublishedFile("cifar-10-binary.tar.gz", len(content), hashlib.sha256(content).hexdigest(), (OFFLINE,))
    found = replace(small("cifar10"), packings=(CifarArchive(file),))
    monkeypatch.setitem(named.NAMED_IMAGES, "cifar10", found)
    put(tmp_path / "data", {file.name: content})
    assert words in refused("cifar10", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]  # nothing was unpacked


def test_no_archive_at_all(tmp_path, monkeypatch):
    content = b"this is no archive"
    file = PublishedFile("cifar-10-binary.tar.gz", len(content), hashlib.sha256(content).hexdigest(), (OFFLINE,))
    monkeypatch.setitem(named.NAMED_IMAGES, "cifar10", replace(small("cifar10"), packings=(CifarArchive(file),)))
    put(tmp_path, {file.name: content})
    assert "cannot be read" in refused("cifar10", tmp_path)


def test_idx_files_that_are_damaged_or_incomplete_or_anothers(tmp_path):
    zipped = {f"{file}.gz": gzip.compress(content) for file, content in idx_files().items()}
    name = "train-images-idx3-ubyte.gz"
    raw = idx_files()[name.removesuffix(".gz")]
    for content in (zipped[name][:500], b"no gzip", gzip.compress(raw[:-1]), gzip.compress(raw + b"\0" * 10**6), b""):
        put(tmp_path / "damaged", {**zipped, name: content})
        assert f"{name} is damaged or another file" in refused("mnist", tmp_path / "damaged")
    put(tmp_path / "part", {file: content for file, content in zipped.items() if file != name})
    assert f"lacks {name}" in refused("mnist", tmp_path / "part")
    put(tmp_path / "other", {**zipped, name: gzip.compress(b"others")})
    assert "holds Fashion-MNIST" in refused("mnist", tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": None}, "cannot be read"),
        ({"class_names": np.asarray(["cat", "dog"])}, "its classes are"),
        ({"train": labels_of()[: TRAIN - 1]}, "49 and 10 labels"),
        ({"train": labels_of()[:TRAIN] + 1}, "labels go up to 10"),
        ({"train": np.asarray([{}] * TRAIN)}, "cannot be read"),  # an array of objects, which only pickle could read
    ],
)
def test_mosaics_with_wrong_labels(changes, words, tmp_path):
    assert words in refused("cifar10", mosaics(tmp_path / "cifar10", **changes).parent)


def test_mosaics_that_do_not_fit(tmp_path):
    folder = mosaics(tmp_path / "cifar10")
    (folder / "train_5.webp").unlink()
    assert "hold 40 images where 50 are labelled" in refused("cifar10", tmp_path)
    (folder / "train_5.webp").write_bytes((folder / "train_4.webp").read_bytes()[:300])
    assert "train_5.webp" in refused("cifar10", tmp_path)
    Image.new("RGB", (70, 32)).save(folder / "train_5.webp", lossless=True)
    assert "70 x 32 pixels of mode RGB are no mosaic" in refused("cifar10", tmp_path)


def test_pixels_that_are_not_the_published_ones_are_counted(tmp_path):
    folder = mosaics(tmp_path / "data" / "cifar10", train_from_jpeg=np.arange(7), test_from_jpeg=np.arange(2))
    (notice,) = data.read("cifar10", data_dir=tmp_path / "data").notices
    assert "9 of 60 images" in str(notice.summary)
    assert folder.name in str(notice.summary)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": "label"}, "its own target"),
        ({"task": "regression"}, "its own target"),
        ({"data_dir": "/nowhere/at/all"}, "there is no such folder"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(DataError, match=words):
        data.read("cifar10", **arguments)


def test_a_data_dir_belongs_to_a_named_set(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"data_dir=.* and other data"):
        data.read("iris", data_dir=tmp_path)
    monkeypatch.setenv("PELLUCID_DATA_DIR", str(tmp_path / "missing"))
    with pytest.raises(DataError, match=r"PELLUCID_DATA_DIR is .*missing"):
        data.read("mnist")


def test_new_data_by_name_are_the_official_test_part(tmp_path):
    folder = mosaics(tmp_path / "cifar10")
    samples = data.read("cifar10", data_dir=folder)
    prepared = data.prepare(samples, validation=5)
    assert prepared.ledger.sizes() == {"train": 45, "validation": 5, "test": 10}
    new = data.read_new("CIFAR-10", prepared.preprocessing, task=prepared.task, data_dir=folder)
    assert np.array_equal(new.inputs, samples.inputs[TRAIN:])
    assert np.array_equal(np.asarray(new.targets), labels_of()[TRAIN:])
    assert (new.name, new.identifiers[3]) == ("cifar10", "test/00003")
    assert "official test part" in str(new.notices[-1].summary)


# -- the real sets ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "mean"), [("mnist", 0.1307), ("fashion-mnist", 0.2860)])
def test_the_real_idx_sets(name, mean, shared_data):
    samples = data.read(name, data_dir=shared_data)
    assert samples.inputs.shape == (70_000, 1, 28, 28)
    assert samples.inputs[:60_000].mean() / 255 == pytest.approx(mean, abs=5e-5)  # the figure that everybody normalises by
    counts = np.bincount(np.asarray(samples.targets)[60_000:])
    assert counts.tolist() == ([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009] if name == "mnist" else [1000] * 10)
    assert not samples.notices


@pytest.mark.shared_data
@pytest.mark.slow
def test_the_real_cifar_from_mosaics_and_from_the_archive_it_would_be(shared_data, tmp_path, monkeypatch):
    """The archive is written from the pixels by hand, in the published form; only its checksum differs from the published one."""
    samples = data.read("cifar10", data_dir=shared_data)
    raw = samples.inputs.transpose(0, 2, 3, 1).tobytes()
    middle = 50_000 * 3072
    assert hashlib.sha256(raw[:middle]).hexdigest() == "c7c6557433f8d7c52900e0fc5549bd21bf6f33fefee1f478f5adbc5499bb11c7"
    assert hashlib.sha256(raw[middle:]).hexdigest() == "25a508aee148b4ccf689df271258bb61c79db1edd6c7bdc2d32e0f748c0bf68c"
    records = np.concatenate([np.asarray(samples.targets, dtype=np.uint8)[:, None], samples.inputs.reshape(60_000, -1)], axis=1)
    names = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for k, name in enumerate(names):
            content = records[10_000 * k : 10_000 * (k + 1)].tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = stream.getvalue()
    file = PublishedFile("cifar-10-binary.tar.gz", len(content), hashlib.sha256(content).hexdigest(), (OFFLINE,))
    found = NAMED_IMAGES["cifar10"]
    monkeypatch.setattr(named, "NAMED_IMAGES", {"cifar10": replace(found, packings=(CifarArchive(file),), published=(file,))})
    put(tmp_path, {file.name: content})
    again = data.read("cifar10", data_dir=tmp_path)
    assert np.array_equal(again.inputs, samples.inputs)
    assert list(again.hashes) == list(samples.hashes)
