import pytest

from pipelines.plain import plain


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Spleen", "Spleen"),
        ("  two \t words\r\n", "two words"),
        ("a\\b\x00c", "a/b c"),
        ("Tumör – Größe", "Tumor Groe"),
        ("x" * 100, "x" * 20),
        ("", ""),
        ("\x1b[31m", "[31m"),
        (None, ""),
        (7, ""),
        (["x"], ""),
        ("é" * 10**6, "e" * 20),
        ("\u202e\u200b", ""),
    ],
)
def test_one_line_of_ascii(text, found):
    assert plain(text, 20) == found
