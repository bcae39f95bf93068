"""Images of every mode and make, folders of every shape, and broken files: read, or quarantined by name with the reason."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.images.decoding import Unreadable, decode, read_header, reason_of

random = np.random.default_rng(0)


def picture(height=10, width=12, channels=3, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def folder_of(root, classes, count=4, suffix=".png", **size):
    for number, name in enumerate(classes):
        place = root / name
        place.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(seed=1000 * number + index, **size).save(place / f"{index}{suffix}")
    return root


# -- one file ------------------------------------------------------------------------------------------------------------------------

GREY = np.asarray([[0, 64, 128, 255]], dtype=np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def transparent():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))  # wholly transparent: white paper shows
    return image


def palette_with_transparency(path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0] + [0] * 762)
    image.putdata([0, 1])
    image.save(path, transparency=1)
    return path


teal = Image.new("RGB", (1, 1), (10, 20, 30))
TEAL = np.asarray([10, 20, 30]).reshape(3, 1, 1)
RED = np.asarray([255, 0, 0]).reshape(3, 1, 1)
MODES = [
    ("grey.png", lambda path: saved(path, Image.fromarray(GREY)), 1, GREY[None]),
    ("grey.png", lambda path: saved(path, Image.fromarray(GREY)), 3, np.repeat(GREY[None], 3, axis=0)),
    ("bits.png", lambda path: saved(path, Image.fromarray(GREY > 100)), 1, np.asarray([[[0, 0, 255, 255]]])),
    ("deep.png", lambda path: saved(path, Image.fromarray(GREY.astype(np.uint16) * 257)), 1, GREY[None]),
    ("deep.tif", lambda path: saved(path, Image.fromarray(GREY.astype(np.int32) * 257)), 1, GREY[None]),
    ("small.tif", lambda path: saved(path, Image.fromarray(GREY.astype(np.int32))), 1, GREY[None]),
    ("float.tif", lambda path: saved(path, Image.fromarray((GREY / 255).astype(np.float32))), 1, GREY[None]),
    ("float255.tif", lambda path: saved(path, Image.fromarray(GREY.astype(np.float32))), 1, GREY[None]),
    ("greyalpha.png", lambda path: saved(path, Image.merge("LA", (Image.fromarray(GREY), Image.new("L", (4, 1), 255)))), 1, GREY[None]),
    ("colour.png", lambda path: saved(path, teal), 3, TEAL),
    ("alpha.png", lambda path: saved(path, transparent()), 3, np.asarray([[[255, 255]], [[0, 255]], [[0, 255]]])),
    ("palette.gif", lambda path: saved(path, Image.new("RGB", (1, 1), (255, 0, 0)).convert("P")), 3, RED),
    ("transparent.png", palette_with_transparency, 3, np.asarray([[[255, 255]], [[0, 255]], [[0, 255]]])),
    ("cmyk.tif", lambda path: saved(path, Image.new("CMYK", (1, 1), (0, 255, 255, 0))), 3, RED),
    ("colour.bmp", lambda path: saved(path, teal), 3, TEAL),
    ("colour.webp", lambda path: saved(path, teal, lossless=True), 3, TEAL),
    ("colour.ppm", lambda path: saved(path, teal), 3, TEAL),
    ("colour.tga", lambda path: saved(path, teal), 3, TEAL),
    ("luma.png", lambda path: saved(path, Image.new("RGB", (1, 1), (255, 255, 255))), 1, np.asarray([[[255]]])),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "channels", "pixels"), MODES, ids=[f"{mode[0]}-{mode[2]}" for mode in MODES])
def test_every_mode_becomes_bytes(tmp_path, name, make, channels, pixels):
    path = make(tmp_path / name)
    header = read_header(path)
    decoded = decode(path, channels, None)
    assert not isinstance(header, Unreadable)
    assert header.grey == (("colour", "alpha", "palette", "transparent", "cmyk", "luma").count(name.split(".")[0]) == 0)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels)
    assert (header.height, header.width) == decoded.shape[1:]


def test_exif_rotation(tmp_path):
    image = picture(8, 4)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    header = read_header(tmp_path / "turned.png")
    assert (header.height, header.width) == (4, 8)
    expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(np.moveaxis(decode(tmp_path / "turned.png", 3, None), 0, 2), expected)


def test_resizing_keeps_the_mean(tmp_path):
    image = picture(300, 200)
    image.save(tmp_path / "a.png")
    small = decode(tmp_path / "a.png", 3, (30, 20))
    assert small.shape == (3, 30, 20)
    assert np.allclose(small.mean(axis=(1, 2)), np.asarray(image).mean(axis=(0, 1)), atol=1)


def bomb(path):
    Image.new("1", (20_000, 9_000)).save(path)
    return path


def truncated(path):
    picture(60, 60).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def written(content):
    def write(path):
        path.write_bytes(content)
        return path

    return write


def negative(path):
    Image.fromarray(np.asarray([[-1.0, 2.0]], dtype=np.float32)).save(path)
    return path


def beyond(path):
    Image.fromarray(np.asarray([[0, 10**6]], dtype=np.int32)).save(path)
    return path


BROKEN = [
    ("empty.png", written(b""), "empty"),
    ("text.jpg", written(b"this is no picture"), "no image that Pillow"),
    ("postscript.jpg", written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"), "no image that Pillow"),
    ("truncated.png", truncated, "cut off|damaged"),
    ("truncated.jpg", truncated, "cut off"),
    ("negative.tif", negative, "negative"),
    ("beyond.tif", beyond, "beyond 65535"),
]


@pytest.mark.parametrize(("name", "make", "words"), BROKEN, ids=[case[0] for case in BROKEN])
def test_broken_files_are_quarantined_by_name(tmp_path, name, make, words):
    folder_of(tmp_path / "photos", ["cat", "dog"], count=8)
    make(tmp_path / "photos" / "cat" / name)
    samples = data.read(tmp_path / "photos")
    (quarantined,) = samples.quarantined
    assert quarantined.identifier == f"cat/{name}"
    assert re.search(words, str(quarantined.reason))
    assert len(samples) == 16
    prepared = data.prepare(samples)
    assert "quarantined" in [notice.kind for notice in prepared.notices]
    assert prepared.ledger.quarantined == (quarantined,)


def test_decompression_bombs_are_quarantined(tmp_path, monkeypatch):
    folder_of(tmp_path / "photos", ["cat", "dog"], count=8)
    bomb(tmp_path / "photos" / "cat" / "bomb.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "bomb" in str(data.read(tmp_path / "photos").quarantined[0].reason)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "bomb" in str(data.read(tmp_path / "photos").quarantined[0].reason)


def test_more_than_a_tenth_unreadable_is_an_error(tmp_path):
    folder_of(tmp_path, ["cat", "dog"], count=8)
    for index in range(2):
        (tmp_path / "cat" / f"bad{index}.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"2 of 18 images cannot be read, for example cat/bad0.jpg"):
        data.read(tmp_path)


def test_a_file_without_permission_is_quarantined(tmp_path, monkeypatch):
    folder_of(tmp_path, ["cat", "dog"], count=8)
    real = os.path.getsize
    monkeypatch.setattr(
        os.path, "getsize", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")) if "cat/0" in str(path) else real(path)
    )
    assert str(data.read(tmp_path).quarantined[0].reason) == "permission denied"


def test_a_folder_without_permission_is_an_error(tmp_path, monkeypatch):
    folder_of(tmp_path, ["cat", "dog"])
    real = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")) if "dog" in str(path) else real(path)
    )
    with pytest.raises(DataError, match="dog cannot be read: Permission denied"):
        data.read(tmp_path)


# -- folders -------------------------------------------------------------------------------------------------------------------------


def test_a_folder_per_class(tmp_path):
    folder_of(tmp_path / "猫和狗 photos", ["dog", "猫", "cat 10", "cat 2"])
    samples = data.read(str(tmp_path / "猫和狗 photos"))
    assert samples.kind == "images"
    assert samples.name == "猫和狗 photos"
    assert samples.task.classes == ("cat 2", "cat 10", "dog", "猫")
    assert samples.inputs.shape == (16, 3, 10, 12)
    assert samples.inputs.dtype == np.uint8
    assert samples.identifiers[0] == "cat 2/0.png"
    for name, label, pixels in zip(samples.identifiers, samples.targets, samples.inputs, strict=True):
        assert name.split("/")[0] == samples.task.classes[label]
        with Image.open(tmp_path / "猫和狗 photos" / name) as image:
            assert np.array_equal(np.moveaxis(pixels, 0, 2), np.asarray(image))
    assert not samples.notices
    again = data.read_reference(samples.reference)
    assert again.hashes == samples.hashes
    assert Path(samples.reference["source"]).is_absolute()


def test_prepared_images(tmp_path):
    samples = data.read(folder_of(tmp_path, ["a", "b"], count=20))
    prepared = data.prepare(samples)
    assert prepared.input_shape == (3, 10, 12)
    assert prepared.train.inputs.dtype == torch.uint8
    whole = torch.cat([batch for batch, _ in prepared.train.batches(6)])
    assert torch.allclose(whole.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(whole.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-4)
    train = samples.inputs[prepared.train.indices].astype(np.float64)
    assert np.allclose(prepared.preprocessing.mean, train.mean(axis=(0, 2, 3)))
    restored = data.restore(prepared.preprocessing.to_dict())
    assert torch.equal(restored.finish(prepared.test.inputs), prepared.preprocessing.finish(prepared.test.inputs))


def test_grey_images_have_one_channel(tmp_path):
    folder_of(tmp_path, ["a", "b"], channels=1)
    assert data.read(tmp_path).inputs.shape == (8, 1, 10, 12)
    picture().save(tmp_path / "a" / "colour.png")
    assert data.read(tmp_path).inputs.shape == (9, 3, 10, 12)


def test_nested_links_and_other_files(tmp_path):
    root = tmp_path / "archive" / "photos"
    folder_of(root / "cat", ["monday", "tuesday/morning"])
    folder_of(tmp_path, ["elsewhere"])
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "again").symlink_to(root / "cat")
    (root / "cat" / "notes.txt").write_text("x")
    (root / "cat" / ".hidden.png").write_text("x")
    (root / "cat" / "Thumbs.db").write_text("x")
    (root / "empty").mkdir()
    picture().save(root / "cat" / "nosuffix", format="PNG")
    picture(seed=5).save(root / "loose.png")
    samples = data.read(tmp_path / "archive")
    assert samples.task.classes == ("cat", "dog")
    assert np.bincount(samples.targets).tolist() == [9, 4]
    kinds = sorted(notice.kind for notice in samples.notices)
    assert kinds == ["folder_passed_over", "images_without_class", "inner_folder", "link_upward", "other_files"]


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "test"), {"train": 12, "test": 12}),
        (("Training", "Validation", "Testing"), {"train": 12, "validation": 12, "test": 12}),
        (("train", "val"), {"train": 12, "validation": 12}),
    ],
)
def test_folders_that_are_parts(tmp_path, folders, parts):
    for number, folder in enumerate(folders):
        folder_of(tmp_path / folder, ["cat", "dog"], count=6, height=10 + number)
    samples = data.read(tmp_path)
    assert samples.task.classes == ("cat", "dog")
    assert {part: (samples.fixed_parts == part).sum() for part in parts} == parts
    prepared = data.prepare(samples)
    for part in parts:
        indices = getattr(prepared, part).indices
        assert set(samples.fixed_parts[indices]) == {part}
    assert len(prepared.test) > 0
    with_pair = data.read((tmp_path / folders[0], tmp_path / folders[-1]))
    assert sorted(set(with_pair.fixed_parts)) == ["test", "train"]
    assert data.read_reference(with_pair.reference).hashes == with_pair.hashes


def test_copies_in_given_parts_leave_training(tmp_path):
    folder_of(tmp_path / "train", ["cat", "dog"], count=6)
    folder_of(tmp_path / "test", ["cat", "dog"], count=2)  # the same pictures
    prepared = data.prepare(data.read(tmp_path))
    assert len(prepared.test) == 4
    assert len(prepared.ledger.removed) == 4
    assert not {prepared.ledger.hashes[i] for i in prepared.train.indices} & {prepared.ledger.hashes[i] for i in prepared.test.indices}
    assert "duplicates_across_parts" in [notice.kind for notice in prepared.notices]


def test_different_sizes_become_one(tmp_path):
    folder_of(tmp_path, ["cat"], height=40, width=20)
    folder_of(tmp_path, ["dog"], height=400, width=300)
    folder_of(tmp_path, ["eel"], height=400, width=300, suffix=".jpg")
    samples = data.read(tmp_path)
    assert samples.inputs.shape[1:] == (3, 128, 96)
    (notice,) = samples.notices
    assert notice.kind == "resized_images"
    assert notice.evidence["sizes"] == 2
    again = data.read_reference(samples.reference)
    assert again.hashes == samples.hashes


def test_large_collections_get_smaller_images(tmp_path, monkeypatch):
    folder_of(tmp_path, ["cat", "dog"], height=100, width=100)
    monkeypatch.setattr("pellucid.data.images.reading.available_memory_bytes", lambda: 4 * 3 * 8 * 50 * 50)
    assert data.read(tmp_path).inputs.shape[1:] == (3, 50, 50)


def test_animations_give_their_first_frame(tmp_path):
    folder_of(tmp_path, ["cat", "dog"])
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
    samples = data.read(tmp_path)
    assert [notice.kind for notice in samples.notices] == ["animated_images"]
    red, _, blue = samples.inputs[list(samples.identifiers).index("cat/moving.gif")]
    assert red.min() > 245
    assert blue.max() < 10


def test_links_to_where_they_stand_bring_nothing_in(tmp_path):
    """A link upward would make a class of its own neighbours, or read the whole disk."""
    root = folder_of(tmp_path / "photos", ["cat", "dog"])
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat")
    (root / "dog" / "disk").symlink_to("/")
    (root / "all").symlink_to(root)
    (root / "round").symlink_to(root / "round")
    samples = data.read(root)
    assert samples.task is not None
    assert samples.task.classes == ("cat", "dog")
    assert len(samples) == 8
    said = [str(notice.summary) for notice in samples.notices if notice.kind == "link_upward"]
    assert len(said) == 2
    assert "1 links" in said[0]
    assert "3 files or links in all" in said[1]
    prepared = data.prepare(data.read(folder_of(tmp_path / "clean", ["cat", "dog"])))
    assert len(data.read_new(root, prepared.preprocessing)) == 8


def test_notices_of_many_folders_are_one(tmp_path):
    root = folder_of(tmp_path / "photos", [f"{number:03d}" for number in range(20)], count=2)
    for number in range(20):
        (root / f"{number:03d}" / "labels.txt").write_text("x")
        (root / f"empty{number}").mkdir()
    notices = data.read(root).notices
    assert sorted(notice.kind for notice in notices) == ["folder_passed_over", "other_files"]
    assert "19 more folders, 20 files" in str(notices[0].summary)
    assert "20 folders hold no images" in str(notices[1].summary)


def test_hundreds_of_classes_with_chinese_names(tmp_path):
    """Two images each: every class is in training."""
    for number in range(300):
        place = tmp_path / "photos" / f"第 {number} 类"
        place.mkdir(parents=True)
        for index in range(2):
            picture(4, 4, seed=2 * number + index).save(place / f"图 {index}.png", compress_level=0)
    samples = data.read(tmp_path / "photos")
    assert samples.task is not None
    assert len(samples.task.classes) == 300
    assert samples.task.classes[:3] == ("第 0 类", "第 1 类", "第 2 类")
    assert samples.identifiers[3] == "第 1 类/图 1.png"
    prepared = data.prepare(samples)
    train = np.asarray(samples.targets)[prepared.train.indices]
    assert len(set(train.tolist())) == 300
    assert len(prepared.test) == 120


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    """Dark and bright pictures of 16 bits keep their ratio; a cut at 255 would make nearly all of them white."""
    for name, top in (("dark", 6000), ("bright", 60000)):
        (tmp_path / name).mkdir()
        for index in range(3):
            ramp = np.linspace(0, top + index, 64).reshape(8, 8).astype(np.uint16)
            Image.fromarray(ramp).save(tmp_path / name / f"{index}.png")
    samples = data.read(tmp_path)
    assert samples.inputs.shape == (6, 1, 8, 8)
    highest = samples.inputs.reshape(6, -1).max(axis=1)
    assert highest.tolist() == [233, 233, 233, 23, 23, 23]


def test_the_content_decides_not_the_ending(tmp_path):
    root = folder_of(tmp_path, ["cat", "dog"])
    (root / "cat" / "0.png").rename(root / "cat" / "0.jpg")
    picture(seed=77).save(root / "dog" / "four.bmp", format="WEBP", lossless=True)
    samples = data.read(root)
    assert len(samples) == 9
    assert not samples.quarantined
    assert np.array_equal(samples.inputs[-1], np.moveaxis(np.asarray(picture(seed=77)), 2, 0))


# -- refusals ------------------------------------------------------------------------------------------------------------------------


def nothing(root):
    return root


def only_text(root):
    (root / "notes.txt").write_text("x")
    return root


def tables(root):
    (root / "train.csv").write_text("a,b\n1,2\n")
    return root


def loose(root):
    picture().save(root / "1.png")
    return root


def kaggle(root):
    for part in ("train", "test"):
        (root / part).mkdir()
        picture().save(root / part / "1.png")
    return root


def one_class(root):
    return folder_of(root, ["cat"])


def one_image(root):
    folder_of(root, ["cat", "dog"])
    return folder_of(root, ["eel"], count=1)


def class_only_in_test(root):
    folder_of(root / "train", ["cat", "dog"])
    folder_of(root / "test", ["cat", "eel"])
    return root


def unpacked_cifar(root):
    (root / "data_batch_1.bin").write_bytes(b"x")
    return root


def pickled_cifar(root):
    (root / "data_batch_1").write_bytes(b"x")
    return root


def single_file(root):
    picture().save(root / "1.png")
    return root / "1.png"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nothing, "is empty"),
        (only_text, "holds texts, for example notes.txt, but no class folders"),
        (tables, "give the table itself: .*train.csv"),
        (loose, "holds images, for example 1.png, but no class folders"),
        (kaggle, "holds images, for example test/1.png, but no class folders"),
        (one_class, "holds a single class, cat"),
        (one_image, "class folders eel hold fewer than 2"),
        (class_only_in_test, "class folders eel stand only in the test part"),
        (single_file, "is a single image"),
        (unpacked_cifar, "pellucid fit cifar10 --data-dir .*photos"),
        (pickled_cifar, "pellucid fit cifar10 --data-dir .*photos"),
        (lambda root: root / "nowhere", "there is no file or folder"),
    ],
)
def test_refusals(tmp_path, make, words):
    root = tmp_path / "photos"
    root.mkdir()
    source = make(root)
    with pytest.raises(DataError, match=words) as caught:
        data.read(source)
    assert len(caught.value.sentences()) == 3


@pytest.mark.parametrize("arguments", [{"target": "class"}, {"task": "regression"}, {"group": "folder"}])
def test_refused_arguments(tmp_path, arguments):
    with pytest.raises(DataError):
        data.read(folder_of(tmp_path, ["cat", "dog"]), **arguments)


# -- new images ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    samples = data.read(folder_of(tmp_path / "photos", ["cat", "dog"], count=20))
    return data.prepare(samples), samples, tmp_path / "photos"


def test_new_images(trained, tmp_path):
    prepared, samples, photos = trained
    preprocessing = data.restore(prepared.preprocessing.to_dict())
    for source in (photos, str(photos)):
        new = data.read_new(source, preprocessing, task=prepared.task)
        assert np.array_equal(new.inputs, samples.inputs)
        assert np.array_equal(new.targets, samples.targets)
    one = photos / "cat" / "3.png"
    position = list(samples.identifiers).index("cat/3.png")
    pixels = samples.inputs[position]
    with Image.open(one) as image:
        image.load()
    for source in (
        one,
        str(one),
        [one],
        [str(one)],
        image,
        [image],
        pixels,
        pixels[None],
        np.moveaxis(pixels, 0, 2),
        torch.tensor(pixels),
    ):
        new = data.read_new(source, preprocessing)
        assert np.array_equal(new.inputs, pixels[None])
        assert torch.equal(preprocessing.inputs(new), torch.tensor(pixels[None]))
        assert new.targets is None
    assert data.read_new((pixels[None], ["dog"]), preprocessing).targets.tolist() == [1]
    picture(50, 70).save(tmp_path / "large.jpg")
    assert data.read_new(tmp_path / "large.jpg", preprocessing).inputs.shape == (1, 3, 10, 12)


def test_new_broken_images_are_quarantined(trained, tmp_path):
    prepared, _, photos = trained
    (photos / "cat" / "bad.png").write_bytes(b"x")
    new = data.read_new(photos, prepared.preprocessing)
    assert [item.identifier for item in new.quarantined] == ["cat/bad.png"]
    assert len(new) == 40
    folder_of(photos, ["horse"])
    new = data.read_new(photos, prepared.preprocessing)
    assert new.targets is None
    assert "unknown_class_folder" in [notice.kind for notice in new.notices]


def test_new_images_none_of_which_can_be_read(trained, tmp_path, monkeypatch):
    preprocessing = trained[0].preprocessing
    (tmp_path / "empty.png").write_bytes(b"")
    truncated(tmp_path / "torn.jpg")
    for source, words in (
        ("empty.png", r"none of 1 images can be read \(empty.png: the file is empty"),
        ("torn.jpg", "torn.jpg: the file is cut off"),
    ):
        with pytest.raises(DataError, match=words):
            data.read_new(tmp_path / source, preprocessing)
    picture(40, 40).save(tmp_path / "fine.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # between this and its double, Pillow itself only warns
    new = data.read_new([tmp_path / "fine.png", trained[2] / "cat" / "0.png"], preprocessing)
    assert "40 x 40 pixels: it may be a decompression bomb" in str(new.quarantined[0].reason)
    assert len(new) == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [(np.zeros((2, 3, 9, 9)), "X has shape"), ("nowhere/", "there is no file or folder"), (".", "holds no images")],
)
def test_new_images_that_do_not_fit(trained, source, words, tmp_path, monkeypatch):
    (tmp_path / "bare").mkdir()
    monkeypatch.chdir(tmp_path / "bare")
    with pytest.raises(DataError, match=words):
        data.read_new(source, trained[0].preprocessing)


def test_pictures_for_a_network_trained_on_arrays(tmp_path):
    prepared = data.prepare(data.read("digits"))
    image = Image.fromarray(np.repeat([[0] * 20 + [255] * 20], 40, axis=0).astype(np.uint8))
    image.save(tmp_path / "stroke.png")
    for source in (tmp_path / "stroke.png", [tmp_path / "stroke.png"], image):
        new = data.read_new(source, prepared.preprocessing)
        assert new.inputs.shape == (1, 1, 8, 8)
        assert np.allclose(new.inputs[0, 0, 0], [0, 0, 0, 2, 14, 16, 16, 16], atol=0.5)
    (tmp_path / "drawn" / "7").mkdir(parents=True)
    image.save(tmp_path / "drawn" / "7" / "a.png")
    assert data.read_new(tmp_path / "drawn", prepared.preprocessing, task=prepared.task).targets.tolist() == [7]


@pytest.mark.parametrize("message", [
    "image file is truncated (12 bytes not processed)", "broken data stream when reading image file", "bad checksum in PNG", "code 7",
])  # fmt: skip
def test_what_pillow_says_is_said_in_the_readers_language(message):
    """A damage that is known has its own sentence; any other sentence of Pillow is quoted, and said to be one."""
    reason = reason_of(OSError(message))
    assert re.search("[一-鿿]", reason.render("zh"))
    assert (message in reason.render("zh")) == (message == "code 7")


def test_one_image_is_not_spoken_of_as_several(tmp_path):
    folder_of(tmp_path / "photos", ["cat", "dog"], count=4)
    (tmp_path / "photos" / "cat" / "notes.txt").write_text("x")
    picture(8, 8).save(tmp_path / "photos" / "loose.png")
    frames = [picture(8, 8).convert("P"), picture(8, 8).convert("P").point(lambda value: 255 - value)]
    frames[0].save(tmp_path / "photos" / "dog" / "moving.gif", save_all=True, append_images=frames[1:])
    said = {notice.kind: str(notice.summary) for notice in data.read(tmp_path / "photos").notices}
    assert said["animated_images"] == "one image is animated: only its first frame is used"
    assert said["other_files"] == "notes.txt in cat is not an image by its name; it was passed over"
    assert said["images_without_class"] == "loose.png stands in photos itself and belongs to no class; it was left out"
