"""Makes enhanced multi-frame objects out of single images, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ENHANCED = {"MR": "1.2.840.10008.5.1.4.1.1.4.1", "CT": "1.2.840.10008.5.1.4.1.1.2.1"}
_MOVED = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "EchoTime",
    "RepetitionTime",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "BodyPartExamined",
    "PixelData",
)


def item(**members: Any) -> Dataset:
    """A sequence item."""
    made = Dataset()
    for name, value in members.items():
        setattr(made, name, value)
    return made


def make_enhanced(series: Sequence[Dataset], *, per_frame: Sequence[Dataset] = (), **members: Any) -> Dataset:
    """One object with the images of a series as its frames, in the order given.

    Parameters
    ----------
    series
        From `tests.common.dicom_factory.make_series`.
    per_frame
        Further functional groups of each frame.
    members
        Any other attribute of the object itself.
    """
    first = series[0]
    made = Dataset()
    for element in first:
        if element.keyword not in _MOVED:
            made.add(element)
    made.SOPClassUID = ENHANCED[first.Modality]
    made.NumberOfFrames = len(series)
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
        PixelMeasuresSequence=[item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)],
    )
    if first.Modality == "MR":
        made.EchoPulseSequence, made.InversionRecovery = "GRADIENT", "YES"
        shared.MREchoSequence = [item(EffectiveEchoTime=float(first.EchoTime))]
        shared.MRTimingAndRelatedParametersSequence = [item(RepetitionTime=first.RepetitionTime)]
        region = item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")
        shared.FrameAnatomySequence = [item(FrameLaterality="U", AnatomicRegionSequence=[region])]
    made.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number, image in enumerate(series, start=1):
        group = item(
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[1, number])],
            PlanePositionSequence=[item(ImagePositionPatient=image.ImagePositionPatient)],
        )
        if image.SliceThickness != first.SliceThickness:
            measures = item(PixelSpacing=image.PixelSpacing, SliceThickness=image.SliceThickness)
            group.PixelMeasuresSequence = [measures]
        if "RescaleSlope" in image:
            values = {name: getattr(image, name) for name in ("RescaleSlope", "RescaleIntercept")}
            group.PixelValueTransformationSequence = [item(**values, RescaleType=image.get("RescaleType", "US"))]
        groups.append(group)
    for group, further in zip(groups, per_frame, strict=False):
        group.update(further)
    made.PerFrameFunctionalGroupsSequence = groups
    for name, value in members.items():
        setattr(made, name, value)
    content = b"".join(image.PixelData for image in series)
    made.PixelData = content + b"\x00" * (len(content) % 2)
    made["PixelData"].VR = "OW"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made
