"""SeriesHeader: what a pipeline may know of a series when it says yes or no. No DICOM library, no pixel, no identity
beyond the UID that the answer refers to.
"""

from __future__ import annotations

from dataclasses import dataclass

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
"""SOP Class UIDs, PS3.4 B.5."""
ENHANCED_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4.4"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2.2"
SECONDARY_CAPTURE_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7.2"
MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7.3"
MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7.4"
COMPUTED_RADIOGRAPHY_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
ULTRASOUND_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.6.1"
ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.3.1"

MR_STORAGES = frozenset({MR_IMAGE_STORAGE, ENHANCED_MR_IMAGE_STORAGE, LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE})
"""Every form in which acquired images of a modality are stored."""
CT_STORAGES = frozenset({CT_IMAGE_STORAGE, ENHANCED_CT_IMAGE_STORAGE, LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE})
CAPTURE_STORAGES = frozenset(
    {
        SECONDARY_CAPTURE_IMAGE_STORAGE,
        MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE,
        MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE,
        MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
    }
)
RADIOGRAPH_STORAGES = CAPTURE_STORAGES | {
    COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
}
"""A radiograph for viewing, also when it was stored as a secondary capture: its Modality tells."""
ULTRASOUND_STORAGES = CAPTURE_STORAGES | {ULTRASOUND_IMAGE_STORAGE, ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE}
PLANAR_STORAGES = RADIOGRAPH_STORAGES | ULTRASOUND_STORAGES | {DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING}
"""Images that lie nowhere in a patient: they are read one by one, as they are shown."""


@dataclass(frozen=True, slots=True)
class SeriesHeader:
    """The facts of one series that its instances agree on.

    Attributes
    ----------
    series_uid
        Series Instance UID (0020,000E).
    modality
        Modality (0008,0060).
    sop_classes
        Every SOP Class UID (0008,0016) that occurs.
    body_part
        Body Part Examined (0018,0015), empty when absent.
    series_description, protocol_name
        (0008,103E) and (0018,1030), empty when absent.
    image_type
        Image Type (0008,0008), its values in order.
    mr_acquisition_type
        MR Acquisition Type (0018,0023): `2D`, `3D` or empty.
    scanning_sequence
        Scanning Sequence (0018,0020), its values in order.
    echo_time_ms, repetition_time_ms, inversion_time_ms
        (0018,0081), (0018,0080), (0018,0082); None when absent.
    instances, rows, columns
        Number of images, where an instance holds several of those; Rows (0028,0010); Columns (0028,0011).
    spacing_mm
        Distance of voxel centres along (x, y, z): along a row, along a column, between slices as their positions say;
        the largest distance where they are uneven; None when it cannot be told.
    depth_mm
        How far the slices reach along z where that is not their number times their distance; else None.
    gap_free
        Whether the slices form one block, as they lie or straightened: none missing, one orientation.
    corrections
        Codes of what has to be put right so that they do.
    patient_age_years
        At the time of the study; None when not known.
    contrast
        Whether the header says that a contrast agent was given (0018,0010).
    planar
        Whether these are planar images (`PLANAR_STORAGES`); then spacing is that of the pixels or None, and
        `gap_free` says that every image can be read.
    views
        What the images of a planar series show: View Position (0018,5101) or what stands for the View Code (0054,0220),
        upper case, such as `PA`, `AP`, `LL`. Empty when no image says; holds "" when only some do.
    colour
        Whether any image is in colour.
    laterality
        (0020,0062) or (0020,0060): `L`, `R`, `B`, or empty.
    for_processing
        Whether any image is raw detector output that is not meant to be looked at (0008,0068).
    frames
        Number of planar images, each frame of a clip counted.
    plane
        How the slices lie: `axial`, `coronal` or `sagittal` within 30 degrees, else `oblique`; empty when unknown.
    frame_of_reference_uid
        Frame of Reference UID (0020,0052): series that share it lie in one space.
    """

    series_uid: str
    modality: str
    sop_classes: frozenset[str]
    body_part: str = ""
    series_description: str = ""
    protocol_name: str = ""
    image_type: tuple[str, ...] = ()
    mr_acquisition_type: str = ""
    scanning_sequence: tuple[str, ...] = ()
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    instances: int = 0
    rows: int = 0
    columns: int = 0
    spacing_mm: tuple[float, float, float] | None = None
    depth_mm: float | None = None
    gap_free: bool = False
    corrections: tuple[str, ...] = ()
    patient_age_years: float | None = None
    contrast: bool = False
    planar: bool = False
    views: frozenset[str] = frozenset()
    colour: bool = False
    laterality: str = ""
    for_processing: bool = False
    frames: int = 0
    plane: str = ""
    frame_of_reference_uid: str = ""

    @property
    def extent_mm(self) -> tuple[float, float, float] | None:
        """How much of the patient it covers along (x, y, z), or None."""
        if self.spacing_mm is None:
            return None
        x, y, z = self.spacing_mm
        depth = z * self.instances if self.depth_mm is None else self.depth_mm
        return (x * self.columns, y * self.rows, depth)
