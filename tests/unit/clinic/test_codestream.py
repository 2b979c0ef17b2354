import io

import numpy as np
import pytest
from PIL import Image

from clinic.codestream import size_of


def encoded(shape, kind, **arguments):
    target = io.BytesIO()
    Image.fromarray(np.zeros(shape, np.uint8)).save(target, kind, **arguments)
    return target.getvalue()


@pytest.mark.parametrize("shape", [(17, 33), (17, 33, 3)])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 300}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
    ],
)
def test_what_a_stream_claims(shape, kind, arguments):
    assert size_of(encoded(shape, kind, **arguments)) == (17, 33, 1 if len(shape) == 2 else 3)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_a_stream_that_is_cut_off_says_its_size_or_nothing(kind):
    whole = encoded((17, 33), kind)
    for length in range(0, len(whole), 3):
        assert size_of(whole[:length]) in (None, (17, 33, 1))


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xff\xff\xff",
        b"\xff\xd8\xff\xe0\x00\x00" + b"\0" * 20,
        b"\xff\xd8" + b"\0" * 40,
        b"P5 1 1",
    ],
)
def test_no_stream(stream):
    assert size_of(stream) is None
