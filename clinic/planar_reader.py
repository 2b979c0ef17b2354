"""From archived planar images to a Volume of P-values: what a person would see, as one stack.

Uncompressed little-endian pixels are read frame by frame while the file's SHA-256 is taken; everything else goes through
pydicom's decoders, once the size that each compressed frame claims agrees with its header. Grey values become P-values
by one table an instance (`clinic.shades`), colours their luma (`clinic.colour`).
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import iter_pixels

from bithive.blobs import Blobs, read_verified
from bithive.errors import DigestMismatch
from bithive.limits import HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, VOLUME_AXIS_VOXELS_MAX
from clinic import codestream, colour, elements, planar, refusals, shades
from clinic.geometry import Grid, SourcePlane
from clinic.instance import InstanceRow
from clinic.pixels import PixelForm, Pixels, cell_form
from clinic.syntaxes import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from clinic.syntaxes import NATIVE as UNCOMPRESSED
from inference.volume import DISPLAY, Volume

RLE = "1.2.840.10008.1.2.5"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_STREAMED = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN})
_CELLS_KEPT = UNCOMPRESSED | {RLE}
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_LUMINANCE = frozenset({colour.YBR_FULL, colour.YBR_FULL_422})
_CHUNK_BYTES = 1 << 20
_DEEPER = 257
"""What a shade of 8 bits is multiplied by to be one of 16."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the images of one instance are stored.

    Attributes
    ----------
    form
        The cell of one sample.
    photometric
        Photometric Interpretation (0028,0004).
    by_plane
        Whether each colour has a plane of its own (0028,0006).
    size
        Rows and Columns.
    """

    form: PixelForm
    photometric: str
    by_plane: bool
    size: tuple[int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what is shown."""
        return shades.display_dtype(self.form.bits_stored)

    @property
    def grey(self) -> bool:
        """Whether one sample is one pixel: grey or the index into a palette."""
        return self.photometric in _GREY or self.photometric == colour.PALETTE

    @property
    def frame_bytes(self) -> int:
        """Size of one uncompressed frame; YBR_FULL_422 has a pair of colours for two pixels."""
        samples = 1 if self.grey else 2 if self.photometric == colour.YBR_FULL_422 else 3
        return math.prod(self.size) * samples * (self.form.bits_allocated // 8)


def read(rows: Sequence[InstanceRow], blobs: Blobs, threads: int, views: Collection[str] = ()) -> tuple[Grid, Volume]:
    """Read a planar series.

    Parameters
    ----------
    rows
        Every instance of it, in any order.
    blobs
        Where their files are.
    threads
        How many files are read at once.
    views
        Which images are taken (`clinic.planar.arrange`).

    Returns
    -------
    tuple
        The images in order, and the Volume of unit `display`: (frames, rows, columns), uint8 if no image has more than
        8 bits, else uint16.

    Raises
    ------
    Refused
        One of `clinic.refusals`: no such images, or pixels that cannot be shown.
    DigestMismatch
        If a stored file has changed.
    """
    grid = planar.arrange(rows, views)
    kinds = {plane.row.sop_uid: _kind(plane) for plane in grid.planes}
    deepest = np.result_type(*(kind.dtype for kind in kinds.values()))
    shape = grid.shape
    if max(shape) > VOLUME_AXIS_VOXELS_MAX or math.prod(shape) * deepest.itemsize > PAYLOAD_BYTES_MAX:
        raise refusals.VolumeTooLarge(axis_voxels_max=VOLUME_AXIS_VOXELS_MAX, size_bytes_max=PAYLOAD_BYTES_MAX)
    even = all(plane.size == shape[1:] for plane in grid.planes)
    stack: Pixels = np.empty(shape, deepest) if even else np.zeros(shape, deepest)
    places: dict[str, list[int]] = {}
    for k, plane in enumerate(grid.planes):
        places.setdefault(plane.row.sop_uid, []).append(k)

    def fill(chosen: Sequence[int]) -> None:
        planes = [grid.planes[k] for k in chosen]
        for k, shown in zip(chosen, _shown(planes, kinds[planes[0].row.sop_uid], blobs), strict=True):
            height, width = shown.shape
            target = stack[k, :height, :width]
            np.multiply(shown, 1 if shown.dtype == deepest else _DEEPER, out=target, dtype=deepest)

    if len(places) == 1:
        fill(next(iter(places.values())))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, places.values()))
    return grid, Volume(stack, grid.affine, DISPLAY)


def check(plane: SourcePlane) -> None:
    """Raise what keeps an image from being read, as far as its header says."""
    _kind(plane)


def _kind(plane: SourcePlane) -> _Kind:
    header = plane.row.header
    photometric, samples = elements.text(header, "00280004"), elements.integer(header, "00280002")
    form = cell_form(header)
    kind = _Kind(form, photometric, elements.integer(header, "00280006") == 1, plane.size)
    if samples != (1 if kind.grey else 3) or not (kind.grey or photometric in colour.COLOURS):
        raise refusals.UnsupportedPixels("the photometric interpretation is not one that is read")
    if not kind.grey and (form.signed or form.high_bit != form.bits_stored - 1):
        raise refusals.UnsupportedPixels("the colours do not lie at the foot of their cells")
    if not kind.grey and photometric != colour.RGB and form.bits_allocated != 8:
        raise refusals.UnsupportedPixels("the pixel depth of luminance and chrominance is not 8 bits")
    uncompressed = plane.row.transfer_syntax in UNCOMPRESSED
    if uncompressed and photometric == colour.YBR_FULL_422 and plane.size[1] % 2:
        raise refusals.UnsupportedPixels("pixels that share their colour do not come in pairs")
    return kind


def _shown(planes: Sequence[SourcePlane], kind: _Kind, blobs: Blobs) -> Iterator[Pixels]:
    """What is shown of some images of one instance, in order of their frames."""
    row = planes[0].row
    source: _Streamed | _Decoded
    if row.transfer_syntax in _STREAMED and row.pixel_offset is not None:
        source = _Streamed(row, blobs, kind)
    else:
        if row.transfer_syntax not in _CELLS_KEPT and kind.form.high_bit != kind.form.bits_stored - 1:
            raise refusals.UnsupportedPixels("the values of compressed pixels do not lie at the foot of their cells")
        source = _Decoded(row, blobs, kind)
    table = None
    for plane, frame in zip(planes, source.frames(len(planes)), strict=True):
        if not kind.grey:
            yield _scaled(frame, kind)
            continue
        if table is None or plane.attributes is not plane.row.header:
            table = _table(plane, kind, source)
        yield table[_index(frame, kind.form)]


def _table(plane: SourcePlane, kind: _Kind, source: _Streamed | _Decoded) -> Pixels:
    if kind.photometric == colour.PALETTE:
        return colour.palette_luma(source.dataset(), kind.form)
    form = cell_form(plane.attributes)
    return shades.shades(form, plane.attributes, source.dataset() if shades.needs_lut(plane.attributes) else None)


def _index(stored: Pixels, form: PixelForm) -> Pixels:
    """Where each stored value stands in a table of all: cut to the stored bits, counted from the least."""
    below = form.high_bit + 1 - form.bits_stored
    cells = stored.view(np.dtype(f"u{stored.itemsize}"))
    if below or form.bits_stored < form.bits_allocated:
        cells = (cells >> below) & ((1 << form.bits_stored) - 1)
    return cells ^ (1 << (form.bits_stored - 1)) if form.signed else cells


def _scaled(bright: Pixels, kind: _Kind) -> Pixels:
    """Luma over the full range of its type."""
    top, white = (1 << kind.form.bits_stored) - 1, np.iinfo(kind.dtype).max
    if top == white:
        return bright.astype(kind.dtype, copy=False)
    return np.rint(np.minimum(bright, top) * (white / top)).astype(kind.dtype)


class _Streamed:
    """Frames of a file whose Pixel Data are the pixels, read in place; the file's digest is checked at its end."""

    def __init__(self, row: InstanceRow, blobs: Blobs, kind: _Kind) -> None:
        self._row, self._blobs, self._kind, self._head = row, blobs, kind, b""

    def dataset(self) -> Dataset:
        """The header, for its look-up tables."""
        return _parsed(self._head)

    def frames(self, count: int) -> Iterator[Pixels]:
        """The first `count` frames: grey as stored, colours as luma."""
        kind, offset, digest = self._kind, self._row.pixel_offset or 0, hashlib.sha256()
        if (self._row.pixel_length or 0) < count * kind.frame_bytes:
            raise refusals.TruncatedPixels
        if offset > HEADER_BYTES_MAX:
            raise refusals.UnsupportedPixels("the header before the pixels is too large")
        with self._blobs.open(self._row.blob) as file:
            self._head = file.read(offset)
            digest.update(self._head)
            for _ in range(count):
                content = file.read(kind.frame_bytes)
                if len(content) != kind.frame_bytes:
                    raise refusals.TruncatedPixels
                digest.update(content)
                yield _unpacked(content, kind)
            while rest := file.read(_CHUNK_BYTES):
                digest.update(rest)
        if digest.hexdigest() != self._row.blob:
            raise DigestMismatch("a stored image has changed")


def _unpacked(content: bytes, kind: _Kind) -> Pixels:
    """One uncompressed frame (PS3.5 8.2, PS3.3 C.7.6.3.1.2 to 4)."""
    rows, columns = kind.size
    cells = np.frombuffer(content, kind.form.dtype)
    if kind.grey:
        return cells.reshape(rows, columns)
    if kind.photometric == colour.YBR_FULL_422:
        return cells.reshape(rows, columns // 2, 4)[:, :, :2].reshape(rows, columns)
    if kind.photometric == colour.YBR_FULL:
        return cells.reshape(3, rows, columns)[0] if kind.by_plane else cells.reshape(rows, columns, 3)[:, :, 0]
    if kind.photometric != colour.RGB:
        raise refusals.UnsupportedPixels("this photometric interpretation belongs to compressed pixels alone")
    if kind.by_plane:
        return colour.luma(np.moveaxis(cells.reshape(3, rows, columns), 0, -1))
    return colour.luma(cells.reshape(rows, columns, 3))


class _Decoded:
    """Frames by pydicom's decoders."""

    def __init__(self, row: InstanceRow, blobs: Blobs, kind: _Kind) -> None:
        self._row, self._kind = row, kind
        self._dataset = _parsed(read_verified(blobs, row.blob))

    def dataset(self) -> Dataset:
        """The whole file."""
        return self._dataset

    def frames(self, count: int) -> Iterator[Pixels]:
        """The first `count` frames: grey as stored, colours as luma.

        Raises
        ------
        TruncatedPixels
            If there are fewer frames than the header says.
        UndecodablePixels
            If no decoder can, or what comes out is not the image that the header describes.
        """
        dataset, kind = self._dataset, self._kind
        expected, as_stored = kind.size if kind.grey else (*kind.size, 3), kind.grey
        try:
            if self._row.transfer_syntax not in UNCOMPRESSED:
                as_stored = self._check_claims(count) or kind.grey
            elif len(dataset.PixelData) < count * kind.frame_bytes:
                raise refusals.TruncatedPixels
            if kind.grey and self._row.transfer_syntax in _CELLS_KEPT:
                dataset.BitsStored = (
                    dataset.BitsAllocated
                )  # the whole cell: pydicom takes any value for one at its foot
            # Pillow is ten times as fast as GDCM, and right as long as no colours have to be converted.
            decoder = "pillow" if as_stored and self._row.transfer_syntax == _JPEG_BASELINE else ""
            for pixels in iter_pixels(dataset, indices=list(range(count)), raw=as_stored, decoding_plugin=decoder):
                if pixels.shape != expected or pixels.dtype.kind not in "iu":
                    raise refusals.UndecodablePixels("the decoded image is not what its header describes")
                if kind.grey:
                    yield np.ascontiguousarray(pixels).astype(kind.form.dtype, copy=False)
                else:
                    yield np.ascontiguousarray(pixels[..., 0]) if as_stored else colour.luma(pixels)
        except (refusals.UndecodablePixels, refusals.TruncatedPixels):
            raise
        except Exception as error:
            raise refusals.UndecodablePixels from error

    def _check_claims(self, count: int) -> bool:
        """Compare the size that each compressed frame claims with the header, before a decoder makes room for it.

        Returns
        -------
        bool
            Whether what a decoder finds before any conversion is luminance and chrominance for certain.
        """
        luminance = self._row.transfer_syntax == _JPEG_BASELINE and self._kind.photometric in _LUMINANCE
        frames = generate_frames(self._dataset.PixelData, number_of_frames=count)
        for number, frame in enumerate(frames, start=1):
            claim = codestream.size_of(frame)
            if claim is None and self._row.transfer_syntax != RLE:
                raise refusals.UndecodablePixels("a compressed frame does not say how large it is")
            if claim is not None and claim != (*self._kind.size, 1 if self._kind.grey else 3):
                raise refusals.UndecodablePixels("a compressed frame is not what its header describes")
            luminance = luminance and not codestream.names_its_colours(frame)
            if number == count:
                return luminance
        raise refusals.TruncatedPixels("there are fewer frames than the header says")


def _parsed(content: bytes) -> Dataset:
    try:
        return pydicom.dcmread(io.BytesIO(content), force=True)
    except Exception as error:
        raise refusals.UndecodablePixels from error
