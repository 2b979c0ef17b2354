"""Proofs that a key is held by who names it: signatures over statements that are good for nothing else.

A Node's proof names the cell's key, so that no other cell can show it; that of a new key names the one it replaces.
"""

from __future__ import annotations

from bithive.canonical import canonical
from bithive.errors import BadSignature
from bithive.keys import SigningKey, verify

_NODE = b"bithive.node.v1\x00"
_ROTATION = b"bithive.rotation.v1\x00"


def prove(node_key: SigningKey, cell_key: str) -> str:
    """That this machine holds its Node's key, for the cell of that key."""
    return node_key.sign(_NODE + canonical({"cell_key": cell_key, "node_key": node_key.public_hex}))


def proven(node_key: str, cell_key: str, proof: str) -> bool:
    """Whether a proof of `prove` holds."""
    return _holds(node_key, _NODE + canonical({"cell_key": cell_key, "node_key": node_key}), proof)


def rotation(signer: SigningKey, cell: str, old_key: str, new_key: str) -> str:
    """The old key's word for the new one, or the new key's that it is held: each signs the same statement."""
    return signer.sign(_statement(cell, old_key, new_key))


def rotates(signer: str, cell: str, old_key: str, new_key: str, signature: str) -> bool:
    """Whether a signature of `rotation` holds."""
    return _holds(signer, _statement(cell, old_key, new_key), signature)


def _statement(cell: str, old_key: str, new_key: str) -> bytes:
    return _ROTATION + canonical({"cell": cell, "new_key": new_key, "old_key": old_key})


def _holds(key: str, message: bytes, signature: str) -> bool:
    try:
        verify(key, message, signature)
    except BadSignature:
        return False
    return True
