"""Which images of a folder have which masks, and what the folders say about parts.

Three layouts are known, each with the names that are in use:

    photos/images/1.jpg            photos/masks/1.png                 one set
    photos/train/images/1.jpg      photos/train/masks/1.png           parts, and in them the two folders
    photos/images/train/1.jpg      photos/masks/train/1.png           the two folders, and in them parts
    photos/train/1.jpg             photos/trainannot/1.png            parts beside their masks
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Notice
from pellucid.data.images.folders import PART_NAMES, images_below, natural_order
from pellucid.data.samples import Quarantined

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "jpegimages", "leftimg8bit", "图像", "图片")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annot", "gt", "groundtruth", "ground_truth", "segmentationclass",
    "gtfine", "segmentation", "掩膜", "掩码", "标注",
)  # fmt: skip
_MASK_ENDINGS = ("annot", "_annot", "_annotations", "_labels", "_label", "_masks", "_mask", "masks", "labels", "_gt")
_NAME_ENDINGS = re.compile(
    r"(?i)[-_ ]?(mask|masks|label|labels|labelids|gt|seg|segmentation|annot|annotation|l|leftimg8bit|gtfine_labelids)$"
)


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    image: str
    mask: str
    identifier: str  # the image's path relative to the source, with "/"
    part: str = ""


@dataclass
class PairListing:
    """The pairs of a source in natural order, and what had no partner."""

    pairs: list[Pair] = field(default_factory=list[Pair])
    lonely: list[Quarantined] = field(default_factory=list[Quarantined])  # images without a mask
    notices: list[Notice] = field(default_factory=list[Notice])

    @property
    def has_parts(self) -> bool:
        return any(pair.part for pair in self.pairs)


def folders_of(root: Path) -> list[tuple[Path, Path, str]]:
    """(folder of images, folder of masks, part or "") for each such pair in `root`; [] where it has none of the layouts. Never raises."""
    children = _folders(root)
    images, masks = _named(children, IMAGE_FOLDERS), _named(children, MASK_FOLDERS)
    if images is not None and masks is not None:
        return [(images, masks, "")]
    found: list[tuple[Path, Path, str]] = []
    for name, folder in children.items():
        part = PART_NAMES.get(name.lower())
        if part is None:
            continue
        inner = _folders(folder)
        images, masks = _named(inner, IMAGE_FOLDERS), _named(inner, MASK_FOLDERS)
        if images is None or masks is None:
            lower = {child.lower(): place for child, place in children.items()}
            images, masks = folder, next((lower[name.lower() + end] for end in _MASK_ENDINGS if name.lower() + end in lower), None)
        if masks is not None:
            found.append((images, masks, part))
    parts = [part for _, _, part in found]
    return found if "train" in parts and len(parts) == len(set(parts)) else []


def _folders(root: Path) -> dict[str, Path]:
    try:
        with os.scandir(root) as entries:
            return {entry.name: Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()}
    except OSError:
        return {}


def _named(folders: dict[str, Path], names: tuple[str, ...]) -> Path | None:
    lower = {name.lower(): folder for name, folder in folders.items()}
    return next((lower[name] for name in names if name in lower), None)


def list_pairs(root: Path) -> PairListing:
    """The pairs of a folder in one of the layouts.

    Raises:
        DataError: none of the layouts, no pair, or a mask that two images claim.
    """
    listing = PairListing()
    folders = folders_of(root)
    if not folders:
        raise DataError(
            text("{folder} has no folders of images and masks", folder=str(root)),
            text("the folders images and masks, with files of equal names; also train/images, train/masks, test/..."),
            text("sort the files into such folders"),
        )
    spare: list[str] = []
    for images, masks, part in folders:
        _pair_up(listing, root, images, masks, part, spare)
    if not listing.pairs:
        examples = [listing.lonely[0].identifier if listing.lonely else "-", spare[0] if spare else "-"]
        raise DataError(
            text("no image in {folder} has a mask of its name (for example {image} and {mask})", folder=str(root), image=examples[0],
                 mask=examples[1]),
            text("masks that are called as their images: images/1.jpg and masks/1.png"),
            text("rename the masks"),
        )  # fmt: skip
    if spare:
        summary = text("masks without an image, passed over: {count} (for example {example})", count=len(spare), example=spare[0])
        listing.notices.append(Notice(kind="masks_without_image", summary=summary, evidence={"files": len(spare)}))
    return listing


def _pair_up(listing: PairListing, root: Path, images: Path, masks: Path, part: str, spare: list[str]) -> None:
    """Partners have the same name but for the ending, in the same subfolder; "_mask" and the like at the end do not count."""
    by_key: dict[str, str] = {}
    by_stem: dict[str, str] = {}
    every = list(images_below(masks, listing.notices))
    for path in every:
        by_key.setdefault(_key(path, masks, exact=True), path)
        by_stem.setdefault(_key(path, masks, exact=False), path)
    taken: dict[str, str] = {}
    for path in images_below(images, listing.notices):
        identifier = Path(path).relative_to(root).as_posix()
        mask = by_key.get(_key(path, images, exact=True)) or by_stem.get(_key(path, images, exact=False))
        if mask is None:
            listing.lonely.append(Quarantined(identifier=identifier, reason=text("it has no mask")))
            continue
        if mask in taken:
            raise DataError(
                text("the mask {mask} belongs to two images, {first} and {second}", mask=Path(mask).relative_to(root).as_posix(),
                     first=taken[mask], second=identifier),
                text("a mask for each image"),
                text("take one of the two images away, or give it a mask of its own"),
            )  # fmt: skip
        taken[mask] = identifier
        inner = Path(path).relative_to(images).parts
        own = part or (PART_NAMES.get(inner[0].lower(), "") if len(inner) > 1 else "")
        listing.pairs.append(Pair(path, mask, identifier, own))
    spare += [Path(path).relative_to(root).as_posix() for path in every if path not in taken]
    spare.sort(key=natural_order)


def _key(path: str, folder: Path, *, exact: bool) -> str:
    name = Path(path).relative_to(folder).with_suffix("").as_posix()
    return name if exact else _NAME_ENDINGS.sub("", name.lower())


def image_folders(root: Path) -> list[tuple[Path, str]]:
    """The folders of images of a layout, with their parts: what a network is to predict where the masks lie beside."""
    return [(images, part) for images, _, part in folders_of(root)]
