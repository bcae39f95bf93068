"""Images with masks as samples: read, brought to one scale, and laid into arrays large enough for the largest."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.hashing import hash_rows, join_hashes
from pellucid.core.language import Text, text
from pellucid.core.memory import require_memory
from pellucid.core.records import Notice, Task
from pellucid.core.wording import counted
from pellucid.data.arrays.checks import per_sample
from pellucid.data.images.decoding import Header, Unreadable, decode, in_threads, read_header
from pellucid.data.images.folders import natural_order
from pellucid.data.masks.classes import MOST_CLASSES, VOID, FoundValues, MaskClasses, listed_classes, settle
from pellucid.data.masks.decoding import Mask, read_mask
from pellucid.data.masks.folders import Pair, PairListing, list_pairs
from pellucid.data.samples import Quarantined, Samples

LARGEST_SIDE = 512  # pixels of the longer side; larger pictures are made smaller together
_QUARANTINE_LIMIT = 0.1  # more unusable files than this are no accident
_BLOCKS = 20  # runs of neighbouring frames that stay together: a part of 20 % is then met within 5 %
_FEWEST_FRAMES = 20
_RESEMBLANCE = 0.01  # the chance with which images in random order would resemble their neighbours as much


@dataclass
class MaskSamples(Samples):
    """Images (N, C, H, W) and masks (N, H, W) uint8, each in the upper left of a canvas for the largest; VOID beside it."""

    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))  # (N, 2) height and width within the canvas
    originals: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))  # (N, 2) of the files
    factor: float = 1.0  # by which all were made smaller
    classes: MaskClasses | None = None


def read_mask_folder(
    folder: Path | str, target: Any = None, *, group: Any = None, time: Any = None, scale: float | None = None, channels: int | None = None
) -> MaskSamples:
    """A folder with images and their masks (see `folders`); `target` is a list of classes (see `classes`). `scale` and `channels` repeat
    what was decided when the folder was read before.

    Pairs that cannot be used are quarantined by name with the reason.

    Raises:
        DataError: no pairs, more than 10 % unusable, fewer than two classes, values that a list does not know, more than memory holds.
    """
    root = Path(folder).expanduser().resolve()
    return read_listing(list_pairs(root), root, target, group=group, time=time, scale=scale, channels=channels)


def read_mask_parts(folders: Mapping[str, Path | str], target: Any = None, **options: Any) -> MaskSamples:
    """Folders that the user has split: part ("train", "validation", "test") -> folder."""
    listing = PairListing()
    for part, folder in folders.items():
        root = Path(folder).expanduser().resolve()
        read = list_pairs(root)
        listing.notices += read.notices
        listing.lonely += [replace(item, identifier=f"{part}: {item.identifier}") for item in read.lonely]
        listing.pairs += [Pair(pair.image, pair.mask, f"{part}: {pair.identifier}", part) for pair in read.pairs]
    return read_listing(listing, Path(folders["train"]).expanduser().resolve(), target, **options)


def _check_lossless(paths: Sequence[str], values: int) -> None:
    """JPEG changes values near every edge: beside two classes of black and white nobody can tell the values that were meant from those.

    Raises:
        DataError: masks stored as JPEG with more than two values.
    """
    lossy = [path for path in paths if Path(path).suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")]
    if lossy and values > 2:
        raise DataError(
            text("{count} masks are stored as JPEG, for example {name}, and all masks hold {values} different values", count=len(lossy),
                 name=Path(lossy[0]).name, values=values),
            text("masks whose pixels are class numbers: JPEG changes the values near every edge"),
            text("save the masks as PNG from what they were made of, or say what the values mean: --target sky,road,void"),
        )  # fmt: skip


def read_listing(
    listing: PairListing,
    root: Path,
    target: Any = None,
    *,
    group: Any = None,
    time: Any = None,
    scale: float | None = None,
    channels: int | None = None,
    classes: MaskClasses | None = None,
) -> MaskSamples:
    """The pairs of a listing; with the `classes` of a trained network masks are read as it knows them."""
    pairs, notices = listing.pairs, list(listing.notices)
    listed = None if classes is not None else listed_classes(root, target)
    bad: dict[int, Text] = {}
    headers: dict[int, Header] = {}
    masks: dict[int, Mask] = {}
    for place, (header, mask) in enumerate(in_threads(lambda pair: (read_header(pair.image), read_mask(pair.mask)), pairs)):
        if isinstance(header, Unreadable):
            bad[place] = header.reason
        elif isinstance(mask, Unreadable):
            bad[place] = text("its mask: {reason}", reason=mask.reason)
        elif mask.indices.shape != (header.height, header.width):
            bad[place] = text("its mask has {mask} pixels (height x width), the image {image}",
                              mask=_size(mask.indices.shape), image=_size((header.height, header.width)))  # fmt: skip
        else:
            headers[place], masks[place] = header, mask
    _check(pairs, bad)
    if (
        any(mask.colour for mask in masks.values())
        or (listed is not None and listed.by_colour)
        or (classes is not None and classes.by_colour)
    ):
        masks = {place: mask.with_grey_as_colour() for place, mask in masks.items()}
    if classes is None:
        found = _found(masks, pairs)
        if listed is None:
            _check_lossless([pairs[place].mask for place in masks], len(found.pixels))
        classes = settle(found, listed, notices)
    indices = {place: classes.encoded(mask.codes) for place, mask in masks.items()}
    for place, encoded in indices.items():
        unknown = masks[place].codes[encoded == MOST_CLASSES]
        if len(unknown):
            shown = [f"#{code:06x}" if classes.by_colour else code for code in unknown[:5].tolist()]
            bad[place] = text("its mask holds values that are no class: {values}", values=shown)
    _check(pairs, bad)

    kept = [place for place in range(len(pairs)) if place not in bad]
    if scale is None:
        scale = _scale([headers[place] for place in kept], notices)
    if channels is None:
        channels = 1 if all(headers[place].grey for place in kept) else 3
    originals = np.asarray([(headers[place].height, headers[place].width) for place in kept], dtype=np.int64).reshape(-1, 2)
    inputs, sizes, failed = decoded([pairs[place].image for place in kept], originals, scale, channels, masks=True)
    if failed:
        bad |= {kept[position]: reason for position, reason in failed.items()}
        _check(pairs, bad)
        good = [position for position in range(len(kept)) if position not in failed]
        inputs, sizes, originals, kept = inputs[good], sizes[good], originals[good], [kept[position] for position in good]
    targets = np.full((len(kept), *inputs.shape[2:]), VOID, dtype=np.uint8)
    for position, place in enumerate(kept):
        height, width = sizes[position].tolist()
        targets[position, :height, :width] = shrunk(indices[place][masks[place].indices], (height, width))
    if len({tuple(size) for size in sizes.tolist()}) > 1:
        summary = text("the images have different sizes, from {smallest} to {largest} (height x width): "
                       "training looks at pieces of one size",
                       smallest=_size(min(sizes.tolist(), key=_area)), largest=_size(max(sizes.tolist(), key=_area)))  # fmt: skip
        notices.append(Notice(kind="sizes_differ", summary=summary))
    if listing.lonely:
        count, example = len(listing.lonely), listing.lonely[0].identifier
        summary = counted(
            count,
            text("one image has no mask and is left out ({example})", example=example),
            text("{count} images have no mask and are left out (for example {example})", count=count, example=example),
        )
        notices.append(Notice(kind="images_without_mask", summary=summary, evidence={"files": count}))
    fixed = np.asarray([pairs[place].part or "train" for place in kept]) if listing.has_parts else None
    groups = per_sample(group, len(kept), fixed, "group")
    if groups is None and fixed is None and time is None:
        groups = frames([pairs[place].identifier for place in kept], inputs, notices)
    input_hashes = join_hashes(hash_rows(inputs), hash_rows(sizes))
    return MaskSamples(
        kind="masks",
        name=root.name,
        task=Task(kind="segmentation", targets=("class",), classes=classes.names),
        inputs=inputs,
        targets=targets,
        identifiers=[pairs[place].identifier for place in kept],
        hashes=join_hashes(input_hashes, hash_rows(targets)),
        reference={"own": {"scale": scale, "channels": channels}},
        fixed_parts=fixed,
        groups=groups,
        times=per_sample(time, len(kept), fixed, "time"),
        quarantined=[*listing.lonely, *(Quarantined(identifier=pairs[place].identifier, reason=bad[place]) for place in sorted(bad))],
        notices=[*notices, *_left_out(pairs, bad)],
        input_hashes=input_hashes,
        mirrorable=True,
        sizes=sizes,
        originals=originals,
        factor=scale,
        classes=classes,
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _area(size: Sequence[int]) -> int:
    return int(size[0]) * int(size[1])


def _found(masks: Mapping[int, Mask], pairs: Sequence[Pair]) -> FoundValues:
    found = FoundValues(by_colour=any(mask.colour for mask in masks.values()))
    palette: dict[int, tuple[int, int, int]] = {}
    for place, mask in masks.items():
        found.add(mask.codes, mask.counts, pairs[place].identifier)
        palette.update(mask.palette)
    found.palette = palette
    return found


def _check(pairs: Sequence[Pair], bad: Mapping[int, Text]) -> None:
    if len(bad) > _QUARANTINE_LIMIT * len(pairs):
        examples = [text("{name} ({reason})", name=pairs[place].identifier, reason=bad[place]) for place in sorted(bad)[:3]]
        raise DataError(
            text(
                "{bad} of {count} images with masks cannot be used, for example {examples}",
                bad=len(bad),
                count=len(pairs),
                examples=examples,
            ),
            text("at most {limit:.0f} % unusable pairs, which are left out and listed", limit=100 * _QUARANTINE_LIMIT),
            text("repair these files, or take them away"),
        )


def _left_out(pairs: Sequence[Pair], bad: Mapping[int, Text]) -> list[Notice]:
    if not bad:
        return []
    examples = [text("{name} ({reason})", name=pairs[place].identifier, reason=bad[place]) for place in sorted(bad)[:3]]
    summary = text("images with masks left out: {count} ({examples})", count=len(bad), examples=examples)
    return [Notice(kind="quarantined", summary=summary, evidence={"count": len(bad)})]


def _scale(headers: Sequence[Header], notices: list[Notice]) -> float:
    """By which all pictures are made smaller: one factor, so that an object keeps its size beside the others."""
    longer = statistics.median(max(header.height, header.width) for header in headers)
    scale = min(1.0, LARGEST_SIDE / longer)
    if scale < 1:
        summary = text("the images (longer side {longer:.0f} pixels) are made smaller by the factor {factor:.3g}; predicted masks are "
                       "given in the images' own size", longer=longer, factor=scale)  # fmt: skip
        notices.append(Notice(kind="resized_images", summary=summary, evidence={"factor": scale}))
    return scale


def decoded(
    paths: Sequence[str], originals: np.ndarray, scale: float, channels: int, *, masks: bool = False
) -> tuple[np.ndarray, np.ndarray, dict[int, Text]]:
    """((n, C, H, W) uint8 in a canvas for the largest, (n, 2) sizes in it, which positions failed and why); room for `masks` beside."""
    sizes = np.maximum(1, np.rint(originals * scale).astype(np.int64))
    height, width = (int(side) for side in sizes.max(axis=0)) if len(sizes) else (1, 1)
    what = text("{count} images of up to {height} x {width} pixels", count=len(paths), height=height, width=width)
    require_memory(len(paths) * (channels + masks) * height * width, what)
    pixels = np.zeros((len(paths), channels, height, width), dtype=np.uint8)

    def fill(position: int) -> Text | None:
        size = (int(sizes[position, 0]), int(sizes[position, 1]))
        picture = decode(paths[position], channels, size)
        if isinstance(picture, Unreadable):
            return picture.reason
        pixels[position, :, : size[0], : size[1]] = picture
        return None

    reasons = in_threads(fill, range(len(paths)))
    return pixels, sizes, {position: reason for position, reason in enumerate(reasons) if reason is not None}


def shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) brought to `size` by taking the nearest pixel: classes cannot be mixed."""
    rows, columns = (
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(np.int64) for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[rows[:, None], columns]


# -- frames of a film ----------------------------------------------------------------------------------------------------------------


def frames(names: Sequence[str], pixels: np.ndarray, notices: list[Notice]) -> np.ndarray | None:
    """(N,) a number for each run of neighbouring frames, where images with consecutive numbers resemble each other; None where not.

    Whether they do is tested: the mean distance between neighbours, of pictures of about 8 x 8 pixels, against that in random order. A test
    image whose neighbour in the film was trained on would be known already.
    """
    if len(names) < _FEWEST_FRAMES:
        return None
    pieces = [re.match(r"^(.*?)(\d+)\D*$", Path(name).with_suffix("").as_posix()) for name in names]
    if sum(piece is not None for piece in pieces) < len(names):
        return None
    order = sorted(range(len(names)), key=lambda place: natural_order(names[place]))
    films = [str(pieces[place].group(1)) for place in order]  # pyright: ignore[reportOptionalMemberAccess]
    step = [max(1, side // 8) for side in pixels.shape[2:]]
    small = pixels[order, :, :: step[0], :: step[1]].reshape(len(names), -1).astype(np.float64)
    small -= small.mean(axis=0)

    def distance(places: np.ndarray) -> float:
        return float(np.abs(small[places[1:]] - small[places[:-1]]).mean())

    random = np.random.default_rng(0)
    draws = int(1 / _RESEMBLANCE)
    seen = distance(np.arange(len(names)))
    if any(distance(random.permutation(len(names))) <= seen for _ in range(draws)):
        return None
    length = max(1, len(names) // _BLOCKS)
    groups = np.zeros(len(names), dtype=np.int64)
    current = run = 0
    for position, place in enumerate(order):
        if position and (run >= length or films[position] != films[position - 1]):
            current, run = current + 1, 0
        groups[place] = current
        run += 1
    summary = text(
        "consecutive images resemble each other as frames of a film do: {groups} runs of neighbours stay together when parts are made",
        groups=current + 1,
    )
    notices.append(Notice(kind="frames", summary=summary, evidence={"groups": current + 1}))
    return groups
