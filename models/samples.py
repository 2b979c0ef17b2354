"""Public images to try BitHive with: fetched like weights, into the same store."""

from __future__ import annotations

from dataclasses import dataclass

from models.pins import PinnedFile, WheelSource


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file.

    Attributes
    ----------
    name, title
        What the catalogue calls it; for people.
    licence
        SPDX identifier of the distribution that carries it.
    pinned
        The file.
    """

    name: str
    title: str
    licence: str
    pinned: PinnedFile


SAMPLES = {
    "head_t1": Sample(
        name="head_t1",
        title="Average T1-weighted head of many volunteers, with skull (pydeface 2.1.0)",
        licence="MIT",
        pinned=PinnedFile(
            file="mean_reg2mean.nii.gz",
            sha256="fdc13571d66293f9919648cd8de9a7b3491b12175e09336353d2c9ce0466ecb6",
            size_bytes=8_178_557,
            source=WheelSource(
                distribution="pydeface",
                version="2.1.0",
                wheel_sha256="957aac1daaedd437a4191d450c4b2829e052351e33272b79ae978c9703edc99e",
                wheel_size_bytes=8188288,
                member="pydeface/data/mean_reg2mean.nii.gz",
            ),
        ),
    ),
}
