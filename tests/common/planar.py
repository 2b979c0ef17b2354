"""Makes planar DICOM images: radiographs, ultrasound, secondary captures; grey or colour, one frame or many, in any
form of pixels and with any fault.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid

from tests.common.dicom_factory import PATIENT, content_of, rows_of

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
US = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
SC_GREY_BYTE, SC_GREY_WORD, SC_COLOUR = f"{SC}.2", f"{SC}.3", f"{SC}.4"
JPEG, RLE, JPEG_2000 = JPEGBaseline8Bit, RLELossless, JPEG2000Lossless

__all__ = ["content_of", "rows_of"]


def planar(
    array: np.ndarray,
    sop_class: str = CR,
    modality: str = "CR",
    *,
    study_uid: str = "1.2.3.200",
    series_uid: str = "1.2.3.200.1",
    number: int = 1,
    syntax: str = ExplicitVRLittleEndian,
    photometric: str = "",
    bits_stored: int = 0,
    patient: dict[str, Any] | None = None,
    **members: Any,
) -> Dataset:
    """One planar instance.

    Parameters
    ----------
    array
        Stored values: (rows, columns) or (frames, rows, columns) grey, uint8, uint16 or int16; with a last axis of 3,
        red, green and blue, uint8 or uint16.
    sop_class, modality
        What it is.
    number
        Instance Number; the SOP Instance UID ends with it.
    syntax
        Transfer syntax: uncompressed, `JPEG` (8 bits), `RLE` or `JPEG_2000` (lossless).
    photometric
        MONOCHROME2 and RGB when empty. Colours for `YBR_FULL` and `YBR_FULL_422` are given as red, green and blue.
    bits_stored
        All that are allocated when 0.
    patient
        Replaces attributes of `dicom_factory.PATIENT`; with another age alone, the birth date is empty.
    members
        Any other attribute by keyword; None leaves one out.
    """
    colour = array.shape[-1] == 3 and array.ndim >= 3
    frames = array.ndim - (3 if colour else 2)
    dataset = Dataset()
    known = PATIENT | (patient or {})
    if "PatientAge" in (patient or {}) and "PatientBirthDate" not in (patient or {}):
        known["PatientBirthDate"] = ""
    for name, value in known.items():
        setattr(dataset, name, value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"{series_uid}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber = modality, "Factory", 1
    dataset.InstanceNumber, dataset.ImageType = number, ["ORIGINAL", "PRIMARY"]
    if frames:
        dataset.NumberOfFrames = len(array)
    dataset.Rows, dataset.Columns = array.shape[frames : frames + 2]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    if colour:
        dataset.PlanarConfiguration = 0
    bits = array.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored = bits, bits_stored or bits
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(array.dtype.kind == "i")
    for name, value in members.items():
        setattr(dataset, name, value)
        if value is None:
            delattr(dataset, name)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _put_pixels(dataset, array, syntax, frames)
    return dataset


def radiograph(array: np.ndarray, view: str = "PA", body_part: str = "CHEST", **arguments: Any) -> Dataset:
    """A computed radiograph of the chest; `sop_class=DX, modality="DX"` makes it a digital one. See `planar`."""
    known = {"ViewPosition": view or None, "BodyPartExamined": body_part or None, "PresentationLUTShape": "IDENTITY"}
    known |= {"PixelSpacing": [0.2, 0.2], "SeriesDescription": "Thorax"}
    if arguments.get("sop_class") in (DX, DX_FOR_PROCESSING):
        processing = arguments["sop_class"] == DX_FOR_PROCESSING
        known["PresentationIntentType"] = "FOR PROCESSING" if processing else "FOR PRESENTATION"
    return planar(array, **(known | arguments))


def ultrasound(array: np.ndarray, **arguments: Any) -> Dataset:
    """A still, or a clip when there are frames. See `planar`."""
    colour = array.shape[-1] == 3 and array.ndim >= 3
    kind = US_MULTI_FRAME if array.ndim == (4 if colour else 3) else US
    return planar(array, **({"sop_class": kind, "modality": "US"} | arguments))


def capture(array: np.ndarray, modality: str = "OT", **arguments: Any) -> Dataset:
    """A secondary capture, of the SOP Class that its pixels need. See `planar`."""
    colour = array.shape[-1] == 3 and array.ndim >= 3
    many = SC_COLOUR if colour else SC_GREY_BYTE if array.dtype.itemsize == 1 else SC_GREY_WORD
    kind = many if array.ndim == (4 if colour else 3) else SC
    return planar(array, **({"sop_class": kind, "modality": modality, "ConversionType": "WSD"} | arguments))


def with_palette(indices: np.ndarray, colours: np.ndarray, **arguments: Any) -> Dataset:
    """An image of indices (uint8 or uint16) into colours (entries, 3), uint8 or uint16. See `planar`."""
    known: dict[str, Any] = {"sop_class": SC, "modality": "US", "photometric": "PALETTE COLOR"}
    for column, name in enumerate(("Red", "Green", "Blue")):
        descriptor = [len(colours) % 65536, 0, colours.dtype.itemsize * 8]
        known[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
        known[f"{name}PaletteColorLookupTableData"] = np.ascontiguousarray(colours[:, column]).tobytes()
    return planar(indices, **(known | arguments))


def table_item(entries: np.ndarray, first: int = 0, bits: int = 16) -> Sequence:
    """A Modality or VOI LUT Sequence of one table."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = ("SS" if first < 0 else "US"), "OW"
    item.ModalityLUTType = "US"
    return Sequence([item])


def chest(rows: int = 256, columns: int = 220, seed: int = 1) -> np.ndarray:
    """Something like a chest: uint8 (rows, columns), two dark lungs in a bright body on black. No real anatomy."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = (np.abs(x) < 0.92) & (y > -0.95)
    lungs = sum(((x - side * 0.42) / 0.3) ** 2 + ((y + 0.05) / 0.62) ** 2 < 1 for side in (-1, 1)) > 0
    shade = np.where(body, 190 - 30 * np.abs(x), 8) - 110 * lungs + 25 * np.sin(y * 22) * lungs
    noise = np.random.default_rng(seed).normal(0, 4, shade.shape)
    return np.clip(shade + noise, 0, 255).astype(np.uint8)


def sector(rows: int = 240, columns: int = 320, seed: int = 1) -> np.ndarray:
    """Something like an ultrasound image: uint8 (rows, columns), a fan of speckle on black. No real anatomy."""
    y, x = np.mgrid[0 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    fan = (np.hypot(x * 0.9, y + 0.15) < 1.05) & (np.abs(np.arctan2(x, y + 0.15)) < 0.75) & (y > 0.05)
    speckle = np.random.default_rng(seed).gamma(2.0, 28.0, fan.shape)
    return np.where(fan, np.clip(speckle, 0, 255), 0).astype(np.uint8)


def scene(size: tuple[int, int] = (512, 512), seed: int = 5) -> np.ndarray:
    """Something like a photograph: uint8 (rows, columns), a bright sky over ground with a few boxes and their shadows."""
    rows, columns = size
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    shade = np.where(y < 0.45, 225 - 60 * y, 95 + 50 * y + 12 * np.sin(x * 40))
    for _ in range(9):
        left, top, wide, high = random.uniform((0, 0.2, 0.05, 0.1), (0.9, 0.6, 0.25, 0.5))
        shade[(x > left) & (x < left + wide) & (y > top) & (y < top + high)] = random.uniform(20, 240)
    return np.clip(shade + random.normal(0, 5, shade.shape), 0, 255).astype(np.uint8)


def saved(dataset: Dataset, path: Path) -> Path:
    """A data set as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content_of(dataset))
    return path


def ultrasound_stills(pictures: Iterable[Path], folder: Path, **arguments: Any) -> list[Path]:
    """Pictures (TIFF, PNG) as colour ultrasound stills of one series, in order, as files. See `planar`."""
    study = generate_uid()
    known = {"study_uid": study, "series_uid": f"{study}.1"[:60], "SeriesDescription": "Fetal"} | arguments
    made = []
    for number, path in enumerate(pictures, start=1):
        with Image.open(path) as picture:
            still = ultrasound(np.asarray(picture.convert("RGB")), number=number, **known)
        made.append(saved(still, folder / f"{path.stem}.dcm"))
    return made


def _put_pixels(dataset: Dataset, array: np.ndarray, syntax: str, frames: int) -> None:
    stored, photometric = array, dataset.PhotometricInterpretation
    if syntax in _ENCODERS:
        encode, colours = _ENCODERS[syntax]
        dataset.PixelData = encapsulate([encode(frame) for frame in (array if frames else [array])])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = syntax
        if dataset.SamplesPerPixel == 3:
            dataset.PhotometricInterpretation = colours
        return
    if photometric.startswith("YBR"):
        stored = _ybr(array)
        if photometric == "YBR_FULL_422":
            chroma = stored[..., 1:].reshape(*stored.shape[:-2], -1, 2, 2).mean(axis=-2).round().astype(np.uint8)
            pairs = stored[..., 0].reshape(*stored.shape[:-2], -1, 2)
            stored = np.concatenate((pairs, chroma), axis=-1)
    if dataset.get("PlanarConfiguration") == 1:
        stored = np.moveaxis(stored, -1, frames)
    content = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    if syntax == RLE:
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax


def _jpeg(frame: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "JPEG", quality=95, subsampling=1 if frame.ndim == 3 else -1)
    return target.getvalue()


def _jpeg_2000(frame: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "JPEG2000", irreversible=False, no_jp2=True, mct=int(frame.ndim == 3))
    return target.getvalue()


_ENCODERS = {JPEG: (_jpeg, "YBR_FULL_422"), JPEG_2000: (_jpeg_2000, "YBR_RCT")}


def _ybr(colours: np.ndarray) -> np.ndarray:
    """Red, green and blue as YBR_FULL (PS3.3 C.7.6.3.1.2)."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.rint(colours @ matrix.T + (0, 128, 128)), 0, 255).astype(np.uint8)
