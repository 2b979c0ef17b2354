"""Use cases of the register: invite, admit, replace a key, revoke. By the hub's addresses and by the command line."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

from bithive.clock import Clock
from bithive.ids import Ids
from bithive.limits import INVITE_LIFETIME_S, KEY_GRACE_S
from bithive.log import get
from cluster.cell_record import NodeRecord
from cluster.cell_store import CellStore
from cluster.data_classes import Terms
from cluster.errors import BadMessage, BrokerBusy, CellUnknown, InviteSpent, KeyRevoked, NodeUnknown, SignatureRefused
from cluster.protocol_join import Rotation
from cluster.register import InviteRecord, Registration
from cluster.register_proof import rotates
from cluster.register_store import RegisterStore

_TRIES = 10


class Registrar:
    """Who may join, and under which key.

    Parameters
    ----------
    register, cells
        Where keys and Nodes are kept.
    clock, ids
        Time, and where secrets come from.
    """

    def __init__(self, register: RegisterStore, cells: CellStore, clock: Clock, ids: Ids) -> None:
        self._register, self._cells, self._clock, self._ids = register, cells, clock, ids

    def invite(
        self, cell: str, account: str, terms: Terms, operator: str, lifetime_s: float = INVITE_LIFETIME_S
    ) -> tuple[str, int]:
        """A new invite for a cell; earlier ones of it are void.

        Parameters
        ----------
        cell, account
            Who is to join, and the name of the account that it signs in with.
        terms, operator
            What it is admitted for, and who is paid for its work.

        Returns
        -------
        tuple
            The secret, shown this once, and when it expires (milliseconds since the epoch).
        """
        secret = base64.urlsafe_b64encode(self._ids.token(32)).rstrip(b"=").decode()
        expires_ms = self._clock.now_ms() + round(lifetime_s * 1000)
        self._register.issue(InviteRecord(_digest(secret), cell, account, terms, operator, expires_ms))
        return secret, expires_ms

    def admit(self, secret: str, cell_key: str) -> InviteRecord:
        """Use an invite for the key that signed the request: it is the cell's from now on.

        A repetition by the same key is answered again, as long as nothing has changed since: an answer may be lost.

        Raises
        ------
        InviteSpent
            If it is not valid (any more). Of several keys at once one succeeds.
        """
        now_ms = self._clock.now_ms()
        invite = self._register.redeem(_digest(secret), cell_key, now_ms)
        if invite is None:
            raise InviteSpent
        fresh = Registration(invite.cell, cell_key, invite.terms, now_ms, operator=invite.operator)
        known = self._register.bind(fresh)
        if invite.cell_key:
            if known.revoked_ms or known.cell_key != cell_key:
                raise InviteSpent
        elif known != fresh and not self._register.amend(fresh, known):
            raise BrokerBusy
        get().info("cell.joined", cell=invite.cell)
        return invite

    def rotate(self, cell: str, rotation: Rotation) -> None:
        """Put a new key in the place of an old one, of a Node or of the cell itself. Repeating it changes nothing.

        A Node keeps its id, and what its old key signed holds for `KEY_GRACE_S` more: it may be on its way.

        Raises
        ------
        SignatureRefused
            Not both keys signed the statement.
        KeyRevoked
            The old key was revoked or replaced.
        NodeUnknown
            No Node of the cell has that key.
        BadMessage
            The new key is in use.
        """
        both = ((rotation.old_key, rotation.old_signature), (rotation.new_key, rotation.new_signature))
        for key, signature in both:
            if not rotates(key, cell, rotation.old_key, rotation.new_key, signature):
                raise SignatureRefused("both keys sign their exchange")
        registration = self._register.registration(cell)
        if registration is not None and registration.cell_key == rotation.old_key:
            self._rebind(registration, rotation.new_key)
            return
        if registration is not None and registration.cell_key == rotation.new_key:
            return
        nodes = {node.node_key: node for node in self._cells.nodes(cell)}
        node, taken = nodes.get(rotation.old_key), nodes.get(rotation.new_key)
        if taken is not None:
            if taken.former_key == rotation.old_key:
                return
            raise BadMessage("the new key is in use")
        if node is None:
            raise NodeUnknown
        if node.revoked_ms or rotation.old_key in {other.former_key for other in nodes.values()}:
            raise KeyRevoked
        until_ms = self._clock.now_ms() + round(KEY_GRACE_S * 1000)
        self._cells.amend(replace(node, node_key=rotation.new_key, former_key=node.node_key, former_until_ms=until_ms))
        get().info("node.rotated", cell=cell, node=node.node)

    def revoke_cell(self, cell: str) -> None:
        """Refuse everything that a cell's key signs, from now on. Only a new invite changes that. Raises `CellUnknown`."""
        now_ms, record = self._clock.now_ms(), self._cells.cell(cell)
        # An invite that nobody can use takes the place of any that might still be used.
        self._register.issue(InviteRecord(self._ids.token(32).hex(), cell, "", Terms(), "", 0))
        registration = self._register.registration(cell)
        if registration is None:
            if record is None:
                raise CellUnknown
            registration = self._register.bind(Registration(cell, record.cell_key, None, now_ms))
        for _ in range(_TRIES):
            if self._register.amend(registration.revoked(now_ms), registration):
                break
            registration = self._register.registration(cell) or registration
        else:
            raise BrokerBusy
        if record is not None:
            self._cells.greet(replace(record, revoked_ms=now_ms), ())
        get().warning("cell.revoked", cell=cell)

    def revoke_node(self, node: str, cell: str | None = None) -> NodeRecord:
        """Refuse everything that a Node's key signs, from now on, what is on its way included.

        Parameters
        ----------
        node
            Its id.
        cell
            Whose it must be; any cell's when absent.

        Raises
        ------
        NodeUnknown
            If there is none.
        """
        known = self._cells.node(node)
        if known is None or (cell is not None and known.cell != cell):
            raise NodeUnknown
        if not known.revoked_ms:
            known = replace(known, revoked_ms=self._clock.now_ms())
            self._cells.amend(known)
            get().warning("node.revoked", cell=known.cell, node=node)
        return known

    def release(self, cell: str) -> None:
        """Let the next signed hello say which key is this cell's, where no invite did: it was just given a new token."""
        registration = self._register.registration(cell)
        if registration is not None and registration.terms is None and not registration.revoked_ms:
            self._register.forget(registration)

    def _rebind(self, registration: Registration, new_key: str) -> None:
        if registration.revoked_ms:
            raise KeyRevoked
        after = replace(registration, cell_key=new_key, bound_ms=self._clock.now_ms())
        if not self._register.amend(after, registration):
            raise BrokerBusy
        get().info("cell.rotated", cell=registration.cell)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
