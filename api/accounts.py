"""Accounts: who may sign in, and with which credential.

A credential is 32 random bytes; only its SHA-256 is kept, and looking up a digest tells an attacker nothing about the
others by its timing. There are three kinds: a machine's bearer token, a person's one-time link, and the browser session
that a link was exchanged for.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from api.auth import SCOPES, Principal
from api.errors import AccountAbsent, AccountExists, LinkSpent
from bithive.clock import Clock
from bithive.errors import BadInput
from bithive.ids import Ids, is_id
from bithive.limits import LINK_LIFETIME_S, SESSION_LIFETIME_S

NAME_LENGTH_MAX = 64
_OF_INSTITUTION = frozenset({"clinician", "pacs", "researcher", "institution", "administrator"})


class Kind(StrEnum):
    """What a credential is good for."""

    TOKEN = "token"  # noqa: S105 - a word, not a secret
    LINK = "link"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Account:
    """Who may sign in.

    Attributes
    ----------
    account_id, name
        Random id (`acc_...`) and the unique name that an operator gave.
    role
        A key of `api.auth.SCOPES`.
    institution, cell
        What it belongs to, if anything.
    disabled
        Whether every credential of it is void.
    """

    account_id: str
    name: str
    role: str
    institution: str | None = None
    cell: str | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """What shows that one is an account: kept by digest.

    Attributes
    ----------
    digest
        SHA-256 of the secret, hexadecimal.
    kind, account_id
        What it is good for, and whose it is.
    expires_ms
        When it ends; 0 for never.
    """

    digest: str
    kind: Kind
    account_id: str
    expires_ms: int = 0


class AccountStore(Protocol):
    """Where accounts and credentials are kept."""

    def add(self, account: Account) -> None:
        """Store an account. Raises `AccountExists` when the name is taken."""

    def accounts(self) -> Sequence[Account]:
        """Every account, oldest first."""

    def disable(self, account_id: str) -> None:
        """Void every credential of an account, for ever."""

    def give(self, credential: Credential, now_ms: int, *, only: bool = False) -> None:
        """Store a credential; `only` voids all others of that kind and account. Forgets what has expired."""

    def holder(self, kind: Kind, digest: str, now_ms: int) -> Account | None:
        """Whose valid credential it is."""

    def consume(self, kind: Kind, digest: str, now_ms: int) -> Account | None:
        """Whose valid credential it was; it is void from now on. Of several callers at once, one is answered."""

    def institution(self, proposed: str) -> str:
        """The hub's own institution id: `proposed` at the first call ever, the same for ever after."""


class MemoryAccountStore:
    """Accounts in dictionaries: for tests and demonstrations."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._credentials: dict[str, Credential] = {}
        self._institution: str | None = None
        self._lock = threading.Lock()

    def add(self, account: Account) -> None:
        with self._lock:
            if any(known.name == account.name for known in self._accounts.values()):
                raise AccountExists
            self._accounts[account.account_id] = account

    def accounts(self) -> Sequence[Account]:
        return list(self._accounts.values())

    def disable(self, account_id: str) -> None:
        with self._lock:
            self._accounts[account_id] = replace(self._accounts[account_id], disabled=True)

    def give(self, credential: Credential, now_ms: int, *, only: bool = False) -> None:
        with self._lock:
            kept = {
                digest: known
                for digest, known in self._credentials.items()
                if (not known.expires_ms or known.expires_ms > now_ms)
                and not (only and (known.kind, known.account_id) == (credential.kind, credential.account_id))
            }
            self._credentials = kept | {credential.digest: credential}

    def holder(self, kind: Kind, digest: str, now_ms: int) -> Account | None:
        known = self._credentials.get(digest)
        if known is None or known.kind != kind or 0 < known.expires_ms <= now_ms:
            return None
        account = self._accounts[known.account_id]
        return None if account.disabled else account

    def consume(self, kind: Kind, digest: str, now_ms: int) -> Account | None:
        with self._lock:
            account = self.holder(kind, digest, now_ms)
            if account is not None:
                del self._credentials[digest]
            return account

    def institution(self, proposed: str) -> str:
        with self._lock:
            self._institution = self._institution or proposed
            return self._institution


class Accounts:
    """Use cases of accounts.

    Parameters
    ----------
    store
        Where they are kept.
    clock, ids
        Time, and where secrets come from.
    """

    def __init__(self, store: AccountStore, clock: Clock, ids: Ids) -> None:
        self._store, self._clock, self._ids = store, clock, ids

    def institution(self) -> str:
        """The hub's own institution id."""
        return self._store.institution(self._ids.new("ins"))

    def add(self, name: str, role: str, institution: str | None = None, cell: str | None = None) -> Account:
        """Create an account; it holds no credential yet.

        Parameters
        ----------
        name
            Up to 64 letters, digits, `.`, `_`, `-`, `@`.
        role
            A key of `api.auth.SCOPES`.
        institution
            Whose; the hub's own when absent, but for cells and auditors, who have none then. A cell that is given one
            is that institution's own, and may receive its payloads of every data class.
        cell
            Whose contributor it is (`cel_...`); needed for that role, and for no other.

        Raises
        ------
        BadInput
            If name, role, institution or cell are malformed.
        AccountExists
            If the name is taken.
        """
        plain = name.translate(str.maketrans(dict.fromkeys("._-@")))
        if not (0 < len(name) <= NAME_LENGTH_MAX and plain.isascii() and plain.isalnum()):
            raise BadInput("a name is letters, digits and . _ - @")
        if role not in SCOPES:
            raise BadInput(f"a role is one of {', '.join(SCOPES)}")
        if institution is not None and not is_id(institution, "ins"):
            raise BadInput("an institution is an id of the form ins_...")
        of = institution or (self.institution() if role in _OF_INSTITUTION else None)
        if (role == "contributor") != (cell is not None and is_id(cell, "cel")):
            raise BadInput("a contributor is one of a cell, named by an id of the form cel_...")
        cell = self._ids.new("cel") if role == "cell" else cell
        account = Account(self._ids.new("acc"), name, role, of, cell)
        self._store.add(account)
        return account

    def ensure(self, name: str, role: str, institution: str | None = None, cell: str | None = None) -> Account:
        """The account of that name, created as by `add` if there is none."""
        try:
            return self.named(name)
        except AccountAbsent:
            try:
                return self.add(name, role, institution, cell)
            except AccountExists:
                return self.named(name)

    def all(self) -> Sequence[Account]:
        """Every account."""
        return self._store.accounts()

    def named(self, name: str) -> Account:
        """One account. Raises `AccountAbsent`."""
        for account in self._store.accounts():
            if account.name == name:
                return account
        raise AccountAbsent

    def disable(self, name: str) -> None:
        """Void every credential of an account. Raises `AccountAbsent`."""
        self._store.disable(self.named(name).account_id)

    def token(self, account: Account) -> str:
        """A new bearer token, shown this once; earlier ones of the account are void."""
        return self._give(Kind.TOKEN, account, 0.0, only=True)

    def link(self, account: Account) -> str:
        """The secret of a link that signs a person in, once, within `LINK_LIFETIME_S`."""
        return self._give(Kind.LINK, account, LINK_LIFETIME_S)

    def open_session(self, link: str) -> tuple[str, Principal]:
        """Exchange a link for a session.

        Returns
        -------
        tuple
            The session's secret, for the cookie, and who it is.

        Raises
        ------
        LinkSpent
            If the link is not valid (any more). Of several exchanges at once, one succeeds.
        """
        account = self._store.consume(Kind.LINK, _digest(link), self._clock.now_ms())
        if account is None:
            raise LinkSpent
        return self._give(Kind.SESSION, account, SESSION_LIFETIME_S), _principal(account)

    def close_session(self, session: str) -> None:
        """Void a session; nothing happens when it is not valid."""
        self._store.consume(Kind.SESSION, _digest(session), self._clock.now_ms())

    def by_token(self, token: str) -> Principal | None:
        """Who shows this bearer token, if it is valid."""
        return self._holder(Kind.TOKEN, token)

    def by_session(self, session: str) -> Principal | None:
        """Who shows this session cookie, if it is valid."""
        return self._holder(Kind.SESSION, session)

    def _holder(self, kind: Kind, secret: str) -> Principal | None:
        account = self._store.holder(kind, _digest(secret), self._clock.now_ms())
        return None if account is None else _principal(account)

    def _give(self, kind: Kind, account: Account, lifetime_s: float, *, only: bool = False) -> str:
        secret = base64.urlsafe_b64encode(self._ids.token(32)).rstrip(b"=").decode()
        now_ms = self._clock.now_ms()
        expires_ms = now_ms + round(lifetime_s * 1000) if lifetime_s else 0
        self._store.give(Credential(_digest(secret), kind, account.account_id, expires_ms), now_ms, only=only)
        return secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _principal(account: Account) -> Principal:
    return Principal(
        account.account_id, account.name, account.role, SCOPES[account.role], account.institution, account.cell
    )
