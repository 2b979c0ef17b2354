"""A cell joins with its invite, and replaces keys without ever being left between two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2

from bithive.clock import Clock
from bithive.keys import SigningKey
from cluster.errors import NetworkRefused, SignatureRefused
from cluster.network_call import Caller
from cluster.network_http import HttpNetwork
from cluster.protocol_join import Invite, Joined, JoinRequest

_NEXT = ".next"


def redeem(
    invite: Invite,
    key: SigningKey,
    *,
    certificate: Path | None = None,
    transport: httpx2.BaseTransport | None = None,
    clock: Clock | None = None,
) -> Joined:
    """Use an invite for a cell's key. The same key may repeat it: an answer may be lost on its way.

    Parameters
    ----------
    invite
        As it was handed over.
    key
        The cell's own, kept before this is called.
    certificate, transport, clock
        As for `cluster.network_call.Caller`.

    Raises
    ------
    NetworkUnreachable
        Nobody answers.
    NetworkRefused
        With `invite-spent`, when it is not valid (any more).
    ProtocolUnsupported
        The hub speaks none of our versions.
    """
    call = Caller(invite.hub_url, None, key, certificate, transport, None, clock)
    try:
        answer = call.post("/cells/join", JoinRequest(invite.secret, key.public_hex).to_json())
        return Joined.from_json(answer.json())
    finally:
        call.close()


def rotate_key(opened: Callable[[SigningKey | None], HttpNetwork], cell: str, path: Path) -> SigningKey:
    """A new key at `path`, known to the network side before the old one is gone.

    The new key lies beside the old one until the network side has taken it; called again after a crash, it goes on with
    that one.

    Parameters
    ----------
    opened
        Makes a connection that signs with a key: the cell's current one when none is given.
    cell
        The cell's id.
    path
        The key file of a Node or of the cell.

    Raises
    ------
    NetworkUnreachable, NetworkRefused
        The old key is still the one.
    """
    old, beside = SigningKey.load_or_create(path), path.with_name(path.name + _NEXT)
    new = SigningKey.load_or_create(beside)
    try:
        _told(opened(None), cell, old, new)
    except NetworkRefused as error:
        if error.answer != SignatureRefused.code:
            raise
        _told(opened(new), cell, old, new)  # the cell's own, and the answer to an earlier call was lost
    beside.replace(path)
    return new


def _told(network: HttpNetwork, cell: str, old: SigningKey, new: SigningKey) -> None:
    try:
        network.rotate(cell, old, new)
    finally:
        network.close()
