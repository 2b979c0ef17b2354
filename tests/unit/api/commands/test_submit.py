from __future__ import annotations

from api.commands import submit
from bithive.cli import COMMANDS, main
from tests.common.dicom_factory import content_of, make_series
from tests.common.servers import free_port


def test_what_it_says_when_it_cannot(tmp_path, capsys):
    assert COMMANDS["submit"][0] == submit.__name__
    (tmp_path / "token").write_text("t\n")
    hub = ["--hub", f"http://127.0.0.1:{free_port()}", "--token-file", str(tmp_path / "token")]
    assert main(["submit", str(tmp_path), *hub]) == 1
    assert "nothing-to-send" in capsys.readouterr().err
    (tmp_path / "1.dcm").write_bytes(content_of(make_series((1, 4, 4))[0]))
    assert main(["submit", str(tmp_path), *hub]) == 1
    assert "[unavailable]" in capsys.readouterr().err
    (tmp_path / "token").write_text("\n")
    assert main(["submit", str(tmp_path), *hub]) == 2


def test_a_public_set_is_checked_before_anything_is_sent(tmp_path, capsys):
    (tmp_path / "token").write_text("t\n")
    given = tmp_path / "set"
    given.mkdir()
    dataset = make_series((1, 4, 4))[0]
    (given / "1.dcm").write_bytes(content_of(dataset))
    hub = ["--hub", f"http://127.0.0.1:{free_port()}", "--token-file", str(tmp_path / "token")]
    named = ["--class", "P0", "--public-set", "A Set", "--licence", "CC0-1.0"]
    assert main(["submit", str(given), *hub, *named]) == 1
    assert "not-de-identified" in capsys.readouterr().err
    dataset.PatientIdentityRemoved = "YES"
    (given / "1.dcm").write_bytes(content_of(dataset))
    assert main(["submit", str(given), *hub, *named]) == 1
    assert "[unavailable]" in capsys.readouterr().err
    for wrong in (["--class", "P1"], ["--class", "P0"], ["--public-set", "A Set"]):
        assert main(["submit", str(given), *hub, *wrong]) == 2
