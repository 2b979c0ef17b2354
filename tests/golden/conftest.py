"""Heads, read by a reader that is not ours, and the bundle loaded once for each engine."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from clinic.sample import write_sample
from inference.run import load
from inference.volume import Volume
from tests.common.hub import MODEL_STORE
from tests.common.studies import catalog, pulled

ENGINES = ("torch", "openvino")
HEADS = (pytest.param("pydeface", marks=pytest.mark.soak), "t1-head")


def read_series(folder: Path, unit: str = "arbitrary") -> Volume:
    """A DICOM series as SimpleITK reads it: (z, y, x), LPS."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image)
    return Volume(np.ascontiguousarray(array.astype(np.int16)), affine, unit)


@dataclass(frozen=True)
class Head:
    """A study, and what deepbet's own command makes of it.

    Attributes
    ----------
    name, dicom
        Which, and the folder of its instances.
    volume
        As read by SimpleITK.
    reference
        The command's mask, as it wrote it.
    reference_ml
        The volume that the command states.
    """

    name: str
    dicom: Path
    volume: Volume
    reference: nib.Nifti1Image
    reference_ml: float


@pytest.fixture(scope="session", params=HEADS)
def head(request, external, tmp_path_factory) -> Head:
    """Each head; the reference is made anew by deepbet, a program of its own, from dcm2niix's conversion."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "t1-head":
        dicom = request.getfixturevalue("shared") / "data" / "t1-head" / "dicom"
    else:
        dicom = folder / "dicom"
        pulled()
        write_sample(catalog().sample("head_t1"), dicom)
    subprocess.run([external("dcm2niix"), "-o", folder, "-f", "head", dicom], check=True, capture_output=True)
    given = ["-i", "head.nii", "-o", "brain.nii", "-m", "mask.nii", "-v", "tiv.csv", "--no_gpu"]
    subprocess.run([external("deepbet-cli"), *given], cwd=folder, check=True, capture_output=True)
    stated = float((folder / "tiv.csv").read_text().splitlines()[1].split(",")[1])
    return Head(request.param, dicom, read_series(dicom), nib.load(folder / "mask.nii"), stated)


@pytest.fixture(scope="session")
def loaded():
    """The bundle, by engine."""
    pulled()
    bundle = catalog().bundle("intracranial_t1")
    weights = catalog().weights(bundle)
    return {engine: load(bundle, weights, engine, 0, MODEL_STORE / "calibration") for engine in ENGINES}
