"""One line and its code: what opens it, and what never does."""

import base64
import json
from dataclasses import asdict, replace

import pytest

from bithive.clock import ManualClock
from bithive.ids import SeededIds
from cluster import invites_cell
from cluster.errors import BadCellInvite, CellInviteExpired
from cluster.invites_cell import PREFIX, CellInvite, is_cell_invite

CLOCK = ManualClock()
INVITE = CellInvite(
    gcs_address="10.9.0.2:6379",
    ray_token="0123456789abcdef" * 4,
    network="10.9.0.0/24",
    address="",
    operator="rack",
    tier="datacenter",
    residency="DE",
    data_class_max="P1",
    institution="",
    vetted=True,
    version="0.1.0",
    ray="2.60.0",
    authority="",
    certificate="",
    key="",
    expires_ms=CLOCK.now_ms() + 1000,
)


def sealed(invite: CellInvite = INVITE) -> tuple[str, str]:
    return invite.seal(SeededIds(1, CLOCK))


def test_the_code_opens_it_however_it_is_typed() -> None:
    line, code = sealed()
    assert is_cell_invite(line) and "\n" not in line and INVITE.ray_token not in line
    for typed in (code, code.lower(), code.replace("-", " "), code.replace("0", "O").replace("1", "l"), f" {code} "):
        assert CellInvite.open(f" {line}\n", typed, CLOCK.now_ms()) == INVITE
    assert not INVITE.tls and replace(INVITE, authority="PEM").tls


def test_another_code_opens_nothing() -> None:
    line, code = sealed()
    _, other = INVITE.seal(SeededIds(2, CLOCK))
    for typed in (other, "", code[:-1], code + "0", "A" * 16):
        with pytest.raises(BadCellInvite):
            CellInvite.open(line, typed, CLOCK.now_ms())


def test_it_ends() -> None:
    line, code = sealed()
    with pytest.raises(CellInviteExpired):
        CellInvite.open(line, code, INVITE.expires_ms)


def test_two_lines_of_the_same_cell_have_nothing_in_common() -> None:
    ids = SeededIds(1, CLOCK)
    (first, one), (second, two) = INVITE.seal(ids), INVITE.seal(ids)
    assert one != two and first[len(PREFIX) + 1 :][:20] != second[len(PREFIX) + 1 :][:20]
    with pytest.raises(BadCellInvite):
        CellInvite.open(second, one, CLOCK.now_ms())


@pytest.mark.parametrize(
    "line",
    ["", "bithive-invite-1.abc", PREFIX, f"{PREFIX}.", f"{PREFIX}.AAAA", f"{PREFIX}.###", "x" * 100_000, f"{PREFIX}.é"],
)
def test_what_is_no_line_is_refused(line: str) -> None:
    with pytest.raises(BadCellInvite):
        CellInvite.open(line, "0000-0000-0000-0000", 0)


def test_every_changed_or_missing_letter_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invites_cell, "_SCRYPT", {"n": 2, "r": 1, "p": 1})
    line, code = sealed()
    assert CellInvite.open(line, code, 0) == INVITE
    for place in range(len(PREFIX) + 1, len(line), 7):
        changed = line[:place] + ("A" if line[place] != "A" else "B") + line[place + 1 :]
        for damaged in (changed, line[:place]):
            with pytest.raises(BadCellInvite):
                CellInvite.open(damaged, code, 0)


@pytest.mark.parametrize(
    "members",
    [
        {"tier": "cloud"},
        {"data_class_max": "P9"},
        {"expires_ms": "x"},
        {"expires_ms": -1},
        {"more": 1},
        {"network": 1},
        {"vetted": 1},
    ],
)
def test_what_another_version_sealed_is_refused(members: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invites_cell, "_SCRYPT", {"n": 2, "r": 1, "p": 1})
    plain = json.dumps(asdict(INVITE) | members).encode()
    code, salt, nonce = "0000-0000-0000-0000", b"s" * 16, b"n" * 12
    content = salt + nonce + invites_cell.AESGCM(invites_cell._key(code, salt)).encrypt(nonce, plain, PREFIX.encode())
    with pytest.raises(BadCellInvite):
        CellInvite.open(f"{PREFIX}.{base64.urlsafe_b64encode(content).decode()}", code, 0)
