"""A class for every pixel: road scenes in folders of images and masks, split by the people who filmed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from task_rows.row import Goal, Row

CLASSES = "sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,cyclist,void"  # in the order of the masks' values


def streets(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
    """CamVid at half the resolution: train, trainannot, val, ...; the target is what the values of the masks mean."""
    return data_dir / "camvid", {"target": CLASSES}


ROWS = (Row("segmentation", "camvid", streets, (Goal("mean_iou", least=0.50), Goal("pixel_accuracy", least=0.88)), "camvid"),)
