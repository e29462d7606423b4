"""Decodes DICOM frames of any transfer syntax by pydicom and its codecs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGExtended12Bit

from osler.readers.blob import Blob
from osler.readers.dicom_errors import DECODE_ERRORS

# Above this size a file is not read whole for a second try.
_WHOLE_BYTES = 1 << 30


def decode_by_pydicom(blob: Blob, *, frames: Sequence[int], syntax: str) -> Iterator[np.ndarray]:
    """Decodes frames of one file, in the order given.

    Frames are read one at a time; only where that fails, or where pydicom cannot do it
    (deflated files), is the whole file read.

    Args:
        blob: The file.
        frames: Indices within the file, from 0.
        syntax: Transfer Syntax UID.

    Yields:
        Stored values, ``(row, column)`` or ``(row, column, 3)`` RGB.

    Raises:
        Exception: Whatever pydicom raises; see `osler.readers.dicom_errors.DECODE_ERRORS`.
    """
    done = 0
    with blob.open() as stream:
        if syntax not in (DeflatedExplicitVRLittleEndian, JPEGExtended12Bit):
            try:
                for array in iter_pixels(stream, indices=list(frames), transfer_syntax_uid=UID(syntax)):
                    yield array
                    done += 1
                return
            except DECODE_ERRORS:
                if blob.size > _WHOLE_BYTES:
                    raise
                stream.seek(0)
        dataset = dcmread(stream, force=True)
    if syntax == JPEGExtended12Bit and dataset.get("BitsStored") == 12:
        for frame in frames[done:]:
            yield _decode_jpeg12(dataset, frame=frame)
        return
    yield from iter_pixels(dataset, indices=list(frames[done:]))


def _decode_jpeg12(dataset: Dataset, *, frame: int) -> np.ndarray:
    """Decodes 12-bit JPEG by GDCM, which can, though pydicom does not ask it to."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(get_frame(dataset.PixelData, frame, number_of_frames=int(dataset.NumberOfFrames or 1)))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    rows, columns, samples = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    color = gdcm.PhotometricInterpretation.GetPIType(dataset.PhotometricInterpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(color))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(JPEGExtended12Bit))))
    image.SetPixelFormat(gdcm.PixelFormat(samples, 16, 12, 11, dataset.PixelRepresentation))
    # GDCM returns char* as a Python string.
    values = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), dtype="<u2")
    return values.reshape((rows, columns) if samples == 1 else (rows, columns, samples))
