from __future__ import annotations

from base64 import b64encode

import pytest

from economy.checkpoints import Checkpoint, TreeHead
from economy.errors import NoteMalformed

ROOT, STATE = bytes(range(32)), bytes(range(32, 64))
CHECKPOINT = Checkpoint("log.example/1", 41, ROOT, 7, STATE, "ab" * 32, 3, 1_800_000_000_000)
TEXT = f"""log.example/1
41
{b64encode(ROOT).decode()}
state 7 {b64encode(STATE).decode()}
previous {"ab" * 32}
seal 3
time 1800000000000
"""


def test_written_and_read():
    assert CHECKPOINT.text == TEXT
    assert Checkpoint.parse(TEXT) == CHECKPOINT
    assert CHECKPOINT.head == TreeHead(41, ROOT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n41\n", "\n041\n"),
        ("\n41\n", "\n-1\n"),
        ("\n41\n", "\n41 \n"),
        ("\n41\n", "\n\u0664\u0661\n"),
        ("\n41\n", "\n" + "9" * 6000 + "\n"),
        ("\n41\n", "\n41\n\n"),
        ("AAEC", "AAE"),
        ("Hh8=", "Hh8"),
        ("state 7", "state  7"),
        ("state 7", "State 7"),
        ("previous ab", "previous AB"),
        ("previous ab", "previous "),
        ("seal 3\n", ""),
        ("time 1800000000000\n", "time 1800000000000"),
        ("time 1800000000000", "time 999999999999999"),
        ("time 1800000000000\n", "time 1800000000000\nmore\n"),
        ("log.example/1", ""),
        ("log.example/1", "log example"),
    ],
)
def test_anything_else_is_refused(old, new):
    assert old in TEXT
    with pytest.raises(NoteMalformed):
        Checkpoint.parse(TEXT.replace(old, new, 1))


def test_a_root_in_another_spelling_is_refused():
    text = b64encode(ROOT).decode()
    spelled = text[:-2] + chr(ord(text[-2]) + 1) + "="
    with pytest.raises(NoteMalformed):
        Checkpoint.parse(TEXT.replace(text, spelled))
