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
