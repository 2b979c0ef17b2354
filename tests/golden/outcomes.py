"""What becomes of every DICOM file that others made and that is here: the table that `docs/geometry.md` shows."""

from __future__ import annotations

from dataclasses import dataclass

NOT_TAKEN = frozenset({"missing-uids", "not-dicom", "truncated-instance", "unreadable-dataset"})
"""Codes of the intake; every other one is of reading."""


@dataclass(frozen=True, slots=True)
class Series:
    """What becomes of one series.

    Attributes
    ----------
    folder
        Where it lies, below the shared data or among pydicom's test files.
    images
        How many.
    outcome
        `read`, or the code of the refusal.
    shape
        (z, y, x) of the Volume.
    warnings
        What was put right.
    dcm2niix_mm
        How far voxel centres may lie from those of dcm2niix, whose affine has single precision; 0 where it is not
        asked.
    planar
        Whether it holds planar images, which lie nowhere.
    """

    folder: str
    images: int
    outcome: str
    shape: tuple[int, int, int] | None = None
    warnings: tuple[str, ...] = ()
    dcm2niix_mm: float = 1e-3
    planar: bool = False


SHARED = (
    Series("chest-xray", 1, "read", (1, 1024, 1024), planar=True),
    Series("ct-body-j2k", 20, "read", (20, 512, 512), ("uids-corrected",)),
    Series("ct-head-philips", 28, "read", (28, 512, 512)),
    Series("ct-head-tilted", 28, "read", (37, 611, 512), ("tilt-corrected", "spacing-corrected")),
    Series("mr-head-sagittal", 35, "read", (35, 256, 256)),
    Series("peak-hour/CT/Study1", 1, "too-few-slices"),
    Series("peak-hour/MR/Study1", 1, "too-few-slices"),
    Series("peak-hour/RF/Study1", 1, "no-geometry"),
    Series("peak-hour/RF/Study2", 1, "no-geometry"),
    Series("peak-hour/RF/Study3", 1, "no-geometry"),
    Series("peak-hour/RF/Study4", 1, "no-geometry"),
    Series("peak-hour/RF/Study5", 1, "no-geometry"),
    Series("peak-hour/US/Study1", 1, "read", (1, 406, 778), planar=True),
    Series("seg-reference", 3, "read", (3, 512, 512)),
    Series("t1-head/dicom", 384, "read", (384, 384, 274), dcm2niix_mm=2e-3),
)
"""Every series under the shared data."""

PYDICOM_SERIES = (
    Series("dicomdirtests/77654033/CT2", 4, "missing-slices"),
    Series("dicomdirtests/98892001/CT2N", 2, "mixed-orientations"),
    Series("dicomdirtests/98892001/CT5N", 5, "read", (5, 16, 16)),
    Series("dicomdirtests/98892003/MR2", 3, "mixed-orientations"),
    Series("dicomdirtests/98892003/MR2", 3, "mixed-orientations"),
    Series("dicomdirtests/98892003/MR700", 7, "mixed-orientations"),
    Series("dicomdirtests/TINY_ALPHA/PT000000/ST000000/SE000000", 50, "no-geometry"),
)
"""Those series of several images among pydicom's test files that have a folder of their own."""

PYDICOM_FILES: dict[str, tuple[str, ...]] = {
    "missing-uids": (
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "UN_sequence.dcm",
        "dicomdirtests/DICOMDIR",
        "dicomdirtests/DICOMDIR-bigEnd",
        "dicomdirtests/DICOMDIR-empty.dcm",
        "dicomdirtests/DICOMDIR-implicit",
        "dicomdirtests/DICOMDIR-nopatient",
        "dicomdirtests/DICOMDIR-reordered",
        "dicomdirtests/TINY_ALPHA/DICOMDIR",
        "empty_charset_LEI.dcm",
        "nested_priv_SQ.dcm",
        "no_meta_group_length.dcm",
        "priv_SQ.dcm",
    ),
    "multi-frame": (
        "liver_1frame.dcm",
        "liver_expb_1frame.dcm",
        "rtdose.dcm",
        "rtdose_expb.dcm",
        "rtdose_rle.dcm",
    ),
    "no-geometry": (
        "dicomdirtests/TINY_ALPHA/PT000000/ST000000/SE000000/IM*",
        "reportsi.dcm",
        "reportsi_with_empty_number_tags.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
        "waveform_ecg.dcm",
    ),
    "not-dicom": (
        "ExplVR_BigEndNoMeta.dcm",
        "ExplVR_LitEndNoMeta.dcm",
        "README.txt",
        "crayons.icc",
        "dicomdirtests/README.txt",
        "dicomdirtests/TINY_ALPHA/README",
        "no_meta.dcm",
        "rtplan.dump",
        "rtstruct.dcm",
        "rtstruct.dump",
        "test1.json",
        "test_PN.json",
        "zipMR.gz",
    ),
    "read": (
        "ExplVR_BigEnd.dcm",
        "GDCMJ2K_TextGBR.dcm",
        "JPEG2000.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_jpeg_no_color_transform_2.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+n1.dcm",
        "SC_rgb_dcmtk_+eb+cy+n2.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_dcmtk_+eb+cy+s2.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "SC_rgb_jpeg_app14_dcmd.dcm",
        "SC_rgb_jpeg_dcmd.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_jpeg_lossy_gdcm.dcm",
        "SC_rgb_rle.dcm",
        "SC_rgb_rle_16bit.dcm",
        "SC_rgb_rle_16bit_2frame.dcm",
        "SC_rgb_rle_2frame.dcm",
        "SC_rgb_small_odd.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "dicomdirtests/77654033/CR1/6154",
        "dicomdirtests/77654033/CR2/6247",
        "dicomdirtests/77654033/CR3/6278",
        "examples_jpeg2k.dcm",
        "examples_palette.dcm",
        "examples_rgb_color.dcm",
        "examples_ybr_color.dcm",
        "image_dfl.dcm",
    ),
    "too-few-slices": (
        "693_J2KI.dcm",
        "CT_small.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
        "badVR.dcm",
        "dicomdirtests/77654033/CT2/*",
        "dicomdirtests/98892001/CT2N/*",
        "dicomdirtests/98892001/CT5N/*",
        "dicomdirtests/98892003/MR1/*",
        "dicomdirtests/98892003/MR2/*",
        "dicomdirtests/98892003/MR700/*",
        "examples_overlay.dcm",
        "rtdose_1frame.dcm",
        "rtdose_expb_1frame.dcm",
        "rtdose_rle_1frame.dcm",
    ),
    "truncated-instance": (
        "MR_truncated.dcm",
        "dicomdirtests/DICOMDIR-nooffset",
        "rtplan_truncated.dcm",
    ),
    "undecodable-pixels": (
        "JPEG-lossy.dcm",
        "JPEG2000-embedded-sequence-delimiter.dcm",
        "JPGExtended.dcm",
    ),
    "unreadable-dataset": (
        "SC_rgb_jpeg.dcm",
        "meta_missing_tsyntax.dcm",
    ),
    "unsupported-pixels": (
        "SC_rgb_rle_32bit.dcm",
        "SC_rgb_rle_32bit_2frame.dcm",
    ),
}
"""Every test file of pydicom on its own: the code that it ends with, or `read`, and which files."""
