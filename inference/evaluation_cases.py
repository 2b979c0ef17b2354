"""Data sets with known answers: arrays in the form of MedMNIST, folders of pictures, folders of volumes with labels.

What a data set is called and its SHA-256 stand in every record: the digest covers the bytes of all its files and their
names, the split and the limit, so that two records of one digest are of the same cases.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from bithive.canonical import digest
from bithive.limits import DATASET_CASES_MAX
from inference.errors import BadDataset, DatasetTooLarge
from inference.evaluation_arrays import (
    IMAGE_SUFFIXES,
    NIFTI_SUFFIXES,
    Array,
    image_file,
    nifti,
    npz_arrays,
    npz_members,
    npz_volume,
    planar,
    volume,
)
from inference.evaluation_task import Task, squash
from inference.volume import Volume

SPLITS = ("test", "val", "train")
_LABEL_ENDINGS = ("_seg", "_label", "_labels", "_mask", "-label", "-seg")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image and what is true of it: yes or no, the key of a class, or an array of labels (z, y, x)."""

    volume: Volume
    truth: bool | str | Array


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Cases with known answers, read one by one.

    Attributes
    ----------
    name, form, split
        Its file or folder; `arrays`, `pictures` or `volumes`; empty where it has no splits.
    sha256
        Of its files, split and limit.
    files
        SHA-256 of each file, by its name below the folder; of very many only their number is kept in a record.
    count
        How many cases.
    unlabelled
        Pictures whose name says nothing, and that are left out.
    """

    name: str
    form: str
    split: str
    sha256: str
    files: Mapping[str, str]
    count: int
    unlabelled: int
    _cases: Callable[[], Iterator[Case]]

    def __iter__(self) -> Iterator[Case]:
        """The cases, in an order that never changes."""
        return self._cases()


def open_dataset(path: Path, task: Task, split: str = "", limit: int = 0) -> Dataset:
    """Look at a data set and say what it is.

    Parameters
    ----------
    path
        An npz file, or a folder.
    task
        What its labels mean.
    split
        `test`, `val`, `train` or `all`; the first of these that is there when empty.
    limit
        At most so many cases, spread evenly over all; 0 for all of them.

    Raises
    ------
    BadDataset
        If it is no data set, holds no case that the task can use, or lacks the split.
    DatasetTooLarge
        If it is larger than is read.
    """
    if path.is_dir():
        if split not in {"", "all"}:
            raise BadDataset("a folder has no splits: name the folder of the split")
        return _volumes(path, task, limit) if task.kind == "segmentation" else _pictures(path, task, limit)
    if not path.is_file():
        raise BadDataset("there is no such file or folder")
    if task.kind == "segmentation":
        raise BadDataset("a segmentation is evaluated on a folder of volumes with labels")
    if path.suffix != ".npz":
        raise BadDataset("a data set is an npz file or a folder")
    return _arrays(path, task, split, limit)


def _arrays(path: Path, task: Task, split: str, limit: int) -> Dataset:
    members = npz_members(path)
    pairs = {name: (f"{name}_images", f"{name}_labels") for name in SPLITS if f"{name}_images" in members}
    if not pairs and "images" in members:
        pairs = {"": ("images", "labels")}
    chosen = split or next(iter(pairs), "none")
    wanted = list(pairs) if chosen == "all" else [chosen]
    if not pairs or any(name not in pairs for name in wanted):
        raise BadDataset(f"the file has no {split or 'test'} images", found=", ".join(sorted(members))[:200])
    for name in wanted:
        images, labels = pairs[name]
        if labels not in members or members[labels][0][:1] != members[images][0][:1]:
            raise BadDataset("there is not one label for each image")
        if members[labels][0][1:] not in {(), (1,)} or members[labels][1].kind not in "biu":
            raise BadDataset("a label is one whole number: several at once are not evaluated")
        if len(members[images][0]) not in {3, 4}:
            raise BadDataset("images are (cases, rows, columns) or (cases, rows, columns, 3)")
    count = sum(members[pairs[name][0]][0][0] for name in wanted)
    kept = _spread(count, limit)

    def cases() -> Iterator[Case]:
        at = 0
        for name in wanted:
            images, labels = npz_arrays(path, pairs[name])
            for place in range(len(images)):
                if at in kept:
                    yield Case(planar(images[place]), _truth(task, str(int(labels[place].reshape(-1)[0]))))
                at += 1

    files = {path.name: _sha256(path)}
    return _dataset(path, "arrays", "" if wanted == [""] else chosen, files, limit, len(kept), 0, cases)


def _pictures(path: Path, task: Task, limit: int) -> Dataset:
    files = _found(path, IMAGE_SUFFIXES)
    labelled = [(file, label) for file in files if (label := _label(file.relative_to(path), task.names)) is not None]
    if not labelled:
        raise BadDataset("no picture of the folder is named by what it shows", pictures=len(files))
    kept = _spread(len(labelled), limit)
    chosen = [item for place, item in enumerate(labelled) if place in kept]

    def cases() -> Iterator[Case]:
        for file, label in chosen:
            yield Case(image_file(file), label == "1" if task.kind == "binary" else label)

    digests = {file.relative_to(path).as_posix(): _sha256(file) for file, _ in labelled}
    return _dataset(path, "pictures", "", digests, limit, len(chosen), len(files) - len(labelled), cases)


def _volumes(path: Path, task: Task, limit: int) -> Dataset:
    arrays, images = _found(path, (".npz",)), _found(path, NIFTI_SUFFIXES)
    pairs = _pairs(path, images)
    if not arrays and not pairs:
        raise BadDataset("the folder holds no volumes with labels: NIfTI pairs, or npz files")
    count = len(arrays) + len(pairs)
    kept = _spread(count, limit)

    def cases() -> Iterator[Case]:
        for place, file in enumerate(arrays):
            if place in kept:
                yield Case(*npz_volume(file, task.unit))
        for place, (image, labels) in enumerate(pairs, len(arrays)):
            if place in kept:
                array, affine = nifti(image)
                truth, _ = nifti(labels)
                if truth.shape != array.shape:
                    raise BadDataset("an image and its labels are not of one shape")
                yield Case(volume(array, affine, task.unit), np.rint(truth).astype(np.int32))

    named = [*arrays, *(file for pair in pairs for file in pair)]
    digests = {file.relative_to(path).as_posix(): _sha256(file) for file in named}
    return _dataset(path, "volumes", "", digests, limit, len(kept), len(images) - 2 * len(pairs), cases)


def _pairs(root: Path, images: list[Path]) -> list[tuple[Path, Path]]:
    """Images with their labels: `x.nii.gz` and `x_seg.nii.gz`, or one name below `images` and below `labels`."""
    by_stem = {file.relative_to(root).as_posix(): file for file in images}
    found = []
    for name, file in sorted(by_stem.items()):
        folder, _, leaf = name.rpartition("/")
        stem, ending = _parted(leaf)
        beside = [f"{folder}/{stem}{end}{ending}".lstrip("/") for end in _LABEL_ENDINGS]
        plain = re.sub(r"_0000$", "", stem)
        other = [f"labels{folder[6:]}/{plain}{ending}"] if folder.startswith("images") else []
        labels = next((by_stem[at] for at in (*beside, *other) if at in by_stem), None)
        if labels is not None:
            found.append((file, labels))
    return found


def _parted(leaf: str) -> tuple[str, str]:
    ending = next(end for end in reversed(NIFTI_SUFFIXES) if leaf.endswith(end))
    return leaf.removesuffix(ending), ending


def _dataset(
    path: Path,
    form: str,
    split: str,
    files: Mapping[str, str],
    limit: int,
    count: int,
    unlabelled: int,
    cases: Callable[[], Iterator[Case]],
) -> Dataset:
    if not count:
        raise BadDataset("the data set holds no case")
    listing = [[name, files[name]] for name in sorted(files)]
    sha256 = digest({"files": listing, "split": split, "limit": limit})
    return Dataset(path.resolve().name, form, split, sha256, dict(files), count, unlabelled, cases)


def _truth(task: Task, label: str) -> bool | str:
    known = task.names.get(label)
    if known is None:
        raise BadDataset("a label is none that the bundle's evaluation_task names", label=label[:20])
    return known == "1" if task.kind == "binary" else known


def _label(name: Path, names: Mapping[str, str]) -> str | None:
    """What a picture's folder, else its own name, says that it shows; None when it says nothing, or two things."""
    for part in (*reversed(name.parts[:-1]), name.stem):
        found = _named(part, names)
        if found is not None:
            return found
    return None


def _named(part: str, names: Mapping[str, str]) -> str | None:
    words = [word for word in re.split(r"[^a-z0-9]+", part.lower()) if word]
    for length in range(len(words), 0, -1):
        runs = [squash("".join(words[at : at + length])) for at in range(len(words) - length + 1)]
        plain = [run if run in names else run.rstrip("0123456789") for run in runs]
        found = {names[run] for run in plain if run in names and not run.isdigit()}
        if found:
            return found.pop() if len(found) == 1 else None
    whole = squash(part)
    return names.get(whole) if len(words) == 1 else None


def _found(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files below a folder with one of these endings, sorted; links lead nowhere."""
    walked = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    found = sorted(islice((file for file in walked if file.name.lower().endswith(suffixes)), DATASET_CASES_MAX + 1))
    if len(found) > DATASET_CASES_MAX:
        raise DatasetTooLarge("the folder holds more files than are read", cases_max=DATASET_CASES_MAX)
    return [file for file in found if file.is_file() and not file.is_symlink()]


def _spread(count: int, limit: int) -> frozenset[int]:
    if count > DATASET_CASES_MAX:
        raise DatasetTooLarge("there are more cases than are read", cases_max=DATASET_CASES_MAX)
    if not limit or limit >= count:
        return frozenset(range(count))
    return frozenset(place * count // limit for place in range(limit))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
