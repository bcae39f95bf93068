"""Folders of images with masks: who belongs to whom, what values mean, what is left out and said, parts and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.mask_scenes import save, write_scenes
from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.masks.classes import VOID, MaskClasses, read_list
from pellucid.data.masks.folders import folders_of
from pellucid.data.masks.reading import MaskSamples, frames, shrunk
from pellucid.data.masks.writing import as_png, mask_names


def read(folder: Path, target: object = None) -> MaskSamples:
    samples = data.read(folder, target)
    assert isinstance(samples, MaskSamples)
    return samples


def told(samples: MaskSamples) -> str:
    return " ".join(str(notice.summary) for notice in samples.notices)


def test_a_folder_is_read_and_what_was_found_is_said(tmp_path):
    samples = read(write_scenes(tmp_path))
    assert samples.task is not None
    assert (samples.task.kind, samples.task.classes, samples.task.outputs) == ("segmentation", ("0", "1", "2"), 3)
    assert samples.inputs.shape == (12, 3, 24, 32)
    assert samples.targets is not None
    assert samples.targets.shape == (12, 24, 32)
    assert set(np.unique(samples.targets)) == {0, 1, 2, VOID}
    assert (samples.targets[:, :2, :2] == VOID).all()
    assert "3 values of the masks are taken for classes: 0, 1, 2" in told(samples)
    assert "0.5 % of the masks' pixels are void (value 255)" in told(samples)
    assert read(tmp_path).hashes == samples.hashes
    again = data.read_reference(samples.reference or {})
    assert again.hashes == samples.hashes


@pytest.mark.parametrize(
    ("images", "masks", "parts"),
    [
        ("JPEGImages", "SegmentationClass", {""}),
        ("train/images", "train/masks", {"train"}),
        ("train", "trainannot", {"train"}),
        ("images/train", "masks/train", {"train"}),
    ],
)
def test_layouts(tmp_path, images, masks, parts):
    random = np.random.default_rng(0)
    for part in ("train", "test", "val") if parts != {""} else ("",):
        for index in range(3):
            place = [name.replace("train", part) for name in (images, masks)]
            save(tmp_path / place[0] / f"{part}{index}.png", random.integers(0, 255, (8, 8, 3)).astype(np.uint8))
            save(tmp_path / place[1] / f"{part}{index}.png", random.integers(0, 3, (8, 8)).astype(np.uint8))
    samples = read(tmp_path)
    if parts == {""}:
        assert samples.fixed_parts is None
    else:
        assert samples.fixed_parts is not None
        assert sorted(samples.fixed_parts.tolist()) == ["test"] * 3 + ["train"] * 3 + ["validation"] * 3
        prepared = data.prepare(samples)
        assert (len(prepared.train), len(prepared.validation), len(prepared.test)) == (3, 3, 3)


def test_other_folders_are_no_masks(tmp_path):
    for name in ("cat", "dog"):
        for index in range(2):
            save(tmp_path / name / f"{index}.png", np.full((8, 8), index, dtype=np.uint8))
    assert folders_of(tmp_path) == []
    assert folders_of(tmp_path / "nothing") == []
    assert data.read(tmp_path).kind == "images"


def test_names_with_endings_and_lonely_files(tmp_path):
    write_scenes(tmp_path)
    (tmp_path / "masks" / "scene3.png").rename(tmp_path / "masks" / "scene3_mask.png")
    (tmp_path / "masks" / "scene5.png").unlink()
    (tmp_path / "images" / "scene7.png").unlink()
    samples = read(tmp_path)
    assert len(samples) == 10
    assert "images/scene3.png" in samples.identifiers
    assert "one image has no mask and is left out (images/scene5.png)" in told(samples)
    assert "masks without an image, passed over: 1 (for example masks/scene7.png)" in told(samples)
    assert [item.identifier for item in samples.quarantined] == ["images/scene5.png"]


def test_unusable_pairs_are_quarantined_with_the_reason(tmp_path):
    write_scenes(tmp_path, 40)
    (tmp_path / "images" / "scene0.png").write_bytes(b"no image")
    save(tmp_path / "masks" / "scene1.png", np.zeros((12, 16), dtype=np.uint8))
    (tmp_path / "masks" / "scene2.png").write_bytes(b"")
    save(tmp_path / "masks" / "scene3.png", (np.arange(24 * 32) % 600).reshape(24, 32).astype(np.uint16))
    samples = read(tmp_path)
    assert len(samples) == 36
    reasons = {item.identifier: str(item.reason) for item in samples.quarantined}
    assert "no image that Pillow can read" in reasons["images/scene0.png"]
    assert reasons["images/scene1.png"] == "its mask has 12 x 16 pixels (height x width), the image 24 x 32"
    assert reasons["images/scene2.png"] == "its mask: the file is empty"
    assert "600 different values from 0 to 599" in reasons["images/scene3.png"]
    assert "images with masks left out: 4" in told(samples)
    save(tmp_path / "masks" / "scene4.png", np.zeros((12, 16), dtype=np.uint8))
    with pytest.raises(DataError, match="5 of 40 images with masks cannot be used"):
        read(tmp_path)


def test_a_list_of_classes_says_what_values_mean_and_which_are_void(tmp_path):
    write_scenes(tmp_path)
    for target in ("sky,void,box", None):
        if target is None:
            (tmp_path / "classes.txt").write_text("# our classes\n0 sky\n1 void\n2 box\n")
        samples = read(tmp_path, target)
        assert samples.task is not None
        assert samples.task.classes == ("sky", "box")
        assert samples.targets is not None
        assert set(np.unique(samples.targets)) == {0, 1, VOID}
        assert samples.classes is not None
        assert samples.classes.void == (1, 255)


def test_values_that_no_list_knows(tmp_path):
    write_scenes(tmp_path, 20)
    with pytest.raises(DataError, match="values that are no class: 2"):
        read(tmp_path, "sky,ground")
    (tmp_path / "classes.txt").write_text("sky\nground\nbox\nship\n")
    stray = np.asarray(Image.open(tmp_path / "masks" / "scene0.png")).copy()
    stray[5, 5] = 77
    save(tmp_path / "masks" / "scene0.png", stray)
    samples = read(tmp_path)
    assert len(samples) == 19
    assert "its mask holds values that are no class: 77" in told(samples)
    assert "classes of the list that no mask shows: ship" in told(samples)


@pytest.mark.parametrize(
    ("lines", "names", "codes"),
    [
        ("sky\nroad\n", ("sky", "road"), (0, 1)),
        ("3,sky\n5,a road", ("sky", "a road"), (3, 5)),
        ("sky: 3\nroad: 5", ("sky", "road"), (3, 5)),
        ("name,r,g,b\nsky,128,0,0\nroad,0,128,64", ("sky", "road"), (0x800000, 0x008040)),
        ("128 0 0\tsky\n0 128 64\told road\n", ("sky", "old road"), (0x800000, 0x008040)),
        ("# label:color_rgb:parts:actions\nsky:128,0,0::\nroad:0,128,64::", ("sky", "road"), (0x800000, 0x008040)),
    ],
)
def test_forms_of_lists(tmp_path, lines, names, codes):
    (tmp_path / "classes.txt").write_text(lines)
    found = read_list(tmp_path / "classes.txt")
    assert (found.names, found.codes) == (names, codes)


@pytest.mark.parametrize(("lines", "words"), [("", "cannot be understood"), ("sky\nsky", "name twice"), ("1 sky\n1 sea", "value twice")])
def test_lists_that_say_nothing(tmp_path, lines, words):
    (tmp_path / "classes.txt").write_text(lines)
    with pytest.raises(DataError, match=words):
        read_list(tmp_path / "classes.txt")


def test_masks_in_colour(tmp_path):
    write_scenes(tmp_path)
    colours = np.array([[70, 130, 180], [128, 64, 128], [220, 20, 60]], dtype=np.uint8)
    for path in (tmp_path / "masks").iterdir():
        mask = np.asarray(Image.open(path)).copy()
        mask[mask == 255] = 0
        save(path, colours[mask])
    samples = read(tmp_path)
    assert samples.task is not None
    assert samples.task.classes == ("#4682b4", "#804080", "#dc143c")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nbox,220,20,60\nsky,70,130,180\nroad,128,64,128\n")
    listed = read(tmp_path)
    assert listed.task is not None
    assert listed.task.classes == ("box", "sky", "road")
    assert listed.classes is not None
    assert listed.classes.palette == ((220, 20, 60), (70, 130, 180), (128, 64, 128))
    assert samples.targets is not None
    assert listed.targets is not None
    assert np.array_equal(np.array([1, 2, 0])[samples.targets], listed.targets)
    with pytest.raises(DataError, match="gives values and the masks hold colours"):
        read(tmp_path, "a,b,c")


def test_palette_masks_are_read_by_their_values(tmp_path):
    write_scenes(tmp_path)
    plain = read(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        picture = Image.open(path)
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [9, 9, 9] * 253)
        picture.save(path)
    samples = read(tmp_path)
    assert samples.targets is not None
    assert plain.targets is not None
    assert np.array_equal(samples.targets, plain.targets)
    assert samples.classes is not None
    assert samples.classes.palette == ((0, 0, 0), (128, 0, 0), (0, 128, 0))


def test_black_and_white_masks_have_two_classes_and_no_void(tmp_path):
    write_scenes(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        save(path, np.where(np.asarray(Image.open(path)) == 2, 255, 0).astype(np.uint8))
    samples = read(tmp_path)
    assert samples.task is not None
    assert samples.task.classes == ("0", "255")


def test_what_cannot_be_learnt_is_refused(tmp_path):
    write_scenes(tmp_path / "a")
    for path in (tmp_path / "a" / "masks").iterdir():
        save(path, np.zeros((24, 32), dtype=np.uint8))
    with pytest.raises(DataError, match="1 different values"):
        read(tmp_path / "a")
    write_scenes(tmp_path / "b")
    for path in (tmp_path / "b" / "masks").iterdir():
        path.rename(path.with_name("other" + path.name))
    with pytest.raises(DataError, match="has a mask of its name"):
        read(tmp_path / "b")
    write_scenes(tmp_path / "c")
    with pytest.raises(DataError, match="segmentation"):
        data.read(tmp_path / "c", task="regression")
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "c", "names.txt")
    for path in list((tmp_path / "c" / "masks").iterdir()):
        Image.open(path).convert("L").save(path.with_suffix(".jpg"))
        path.unlink()
    with pytest.raises(DataError, match=r"12 masks are stored as JPEG(.|\n)*PNG"):
        read(tmp_path / "c")


def test_images_of_different_sizes(tmp_path):
    samples = read(write_scenes(tmp_path, 12, sizes=((24, 32), (40, 20), (24, 32))))
    assert samples.inputs.shape == (12, 3, 40, 32)
    assert samples.sizes.tolist()[:3] == [[24, 32], [40, 20], [24, 32]]
    assert samples.targets is not None
    assert (samples.targets[0, 24:] == VOID).all()
    assert (samples.targets[1, :, 20:] == VOID).all()
    assert "different sizes, from 24 x 32 to 40 x 20" in told(samples)
    prepared = data.prepare(samples, validation=0, test=0)
    expected = np.concatenate([image[:, :h, :w].reshape(3, -1) for image, (h, w) in zip(samples.inputs, samples.sizes, strict=True)], 1)
    np.testing.assert_allclose(prepared.preprocessing.mean, expected.mean(1))
    np.testing.assert_allclose(prepared.preprocessing.scale, expected.std(1))
    alike = [(tuple(x.shape), tuple(y.shape)) for x, y in prepared.train.batches(4)]
    assert sum(shape[0] for shape, _ in alike) == 12
    assert {shape[2:] for shape, _ in alike} == {(24, 32), (40, 20)}  # each as large as it is
    (inputs, targets), *rest = prepared.train.batches(4, torch.tensor([0, 1, 2, 3]))
    assert not rest
    assert inputs.shape == (4, 3, 40, 32)
    assert targets.dtype == torch.long


def test_large_images_are_made_smaller_together_and_masks_by_the_nearest_pixel(tmp_path):
    random = np.random.default_rng(0)
    for index in range(3):
        save(tmp_path / "images" / f"{index}.png", random.integers(0, 255, (1024, 600)).astype(np.uint8))
        save(tmp_path / "masks" / f"{index}.png", np.repeat(np.array([[0], [3]], dtype=np.uint8), 512, 0).repeat(600, 1))
    samples = read(tmp_path)
    assert samples.inputs.shape == (3, 1, 512, 300)
    assert samples.factor == 0.5
    assert samples.targets is not None
    assert (samples.targets[:, :256] == 0).all()
    assert (samples.targets[:, 256:] == 1).all()
    assert shrunk(np.arange(6).reshape(1, 6), (1, 3)).tolist() == [[1, 3, 5]]
    assert shrunk(np.array([[1, 2]]), (2, 4)).tolist() == [[1, 1, 2, 2]] * 2


def test_frames_of_a_film_stay_together_and_strangers_do_not():
    random = np.random.default_rng(0)
    walk = np.cumsum(random.normal(0, 1, (60, 3, 8, 8)), axis=0)
    film = np.clip(128 + 8 * walk, 0, 255).astype(np.uint8)
    names = [f"a/seq1_{index:05}.png" for index in range(60)]
    notices: list = []
    groups = frames(names, film, notices)
    assert groups is not None
    assert (np.diff(groups) >= 0).all()
    assert len(set(groups.tolist())) == 20
    assert "20 runs of neighbours stay together" in str(notices[0].summary)
    assert frames(names, random.permutation(film), []) is None
    assert frames([f"{index}x" for index in "abc" * 20], film, []) is None  # no numbers
    two = frames([f"seq{index // 31}_{index:05}.png" for index in range(60)], film, [])
    assert two is not None
    assert two[30] != two[31]  # another film begins


def test_written_masks_are_read_back_as_they_were():
    mask = np.array([[0, 1], [2, 1]], dtype=np.uint8)
    for codes, by_colour in (((0, 5, 255), False), ((0x0A141E, 0x010203, 0xFFFFFF), True), ((1, 300, 40000), False)):
        classes = MaskClasses(("a", "b", "c"), codes, by_colour, (), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
        import io

        picture = Image.open(io.BytesIO(as_png(mask, classes)))
        pixels = np.asarray(picture.convert("RGB") if by_colour else picture).astype(np.int64)
        values = pixels @ np.array([65536, 256, 1]) if by_colour else pixels
        assert values.tolist() == np.asarray(codes)[mask].tolist()


def test_names_of_written_masks():
    assert mask_names(["images/a.jpg", "images/b.png"]) == ["a.png", "b.png"]
    assert mask_names(["a.jpg", "a.png", "b.jpg"]) == ["a.jpg.png", "a.png.png", "b.png"]
    assert mask_names(["train/images/a.jpg", "test/images/a.jpg"]) == ["train/images/a.png", "test/images/a.png"]
    assert mask_names(["../x/a.jpg", "/etc/b.jpg"]) == ["x/a.png", "etc/b.png"]
