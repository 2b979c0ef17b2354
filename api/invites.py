"""Invites for cells: an account, what it is admitted for, and the line that is handed over."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from api.accounts import NAME_LENGTH_MAX, Account, Accounts
from bithive.clock import SystemClock
from bithive.errors import BadInput
from bithive.ids import RandomIds
from bithive.offer import DataClass
from bithive.settings import Settings
from cluster.data_classes import Terms
from cluster.labels import Tier
from cluster.labels import residency as country
from cluster.labels import tier as tier_named
from cluster.protocol_join import Invite
from cluster.register_sql import registrar

CONTRIBUTOR_SUFFIX = ".contributor"
"""What the name of a cell's account and of its contributor's differ by."""

_CLASS_MAX = {(True, True): DataClass.P3, (True, False): DataClass.P3, (False, True): DataClass.P2}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an administrator asks an invite for.

    Attributes
    ----------
    cell
        Name of the account.
    institution
        Whose own cell (`ins_...`, or `own` for the hub's); None for a contributor's.
    tier
        A word of `cluster.labels.Tier`; None for the usual one: a hospital's own, or somebody's home.
    residency
        Country, or empty.
    data_class_max
        A word of `DataClass`; None for as much as the rest allows.
    vetted
        Whether the network has vetted its operator.
    operator
        Who is paid.
    """

    cell: str
    institution: str | None
    tier: str | None
    residency: str
    data_class_max: str | None
    vetted: bool
    operator: str

    def terms(self, institution: str | None) -> Terms:
        """What the cell is admitted for. Raises `BadLabel`, `BadInput`."""
        own = institution is not None
        usual = Tier.HOSPITAL if own else Tier.HOME
        words = [str(word) for word in DataClass]
        if self.data_class_max is not None and self.data_class_max not in words:
            raise BadInput(f"a data class is one of {', '.join(words)}")
        most = _CLASS_MAX.get((own, self.vetted), DataClass.P0)
        return Terms(
            institution,
            self.vetted,
            usual if self.tier is None else tier_named(self.tier),
            country(self.residency),
            most if self.data_class_max is None else DataClass(self.data_class_max),
        )


def make_invite(settings: Settings, accounts: Accounts, wanted: Wanted, hub_url: str) -> Invite:
    """An invite for a cell; its account is made if there is none. Earlier invites of that cell are void.

    Raises
    ------
    BadInput
        If a word is none of those that it can be, or the account is another's or not a cell's.
    """
    if len(wanted.cell) + len(CONTRIBUTOR_SUFFIX) > NAME_LENGTH_MAX:
        raise BadInput("the name is too long")
    if not (0 < len(wanted.operator) <= NAME_LENGTH_MAX and wanted.operator.isprintable()):
        raise BadInput("an operator is a short printable name")
    institution = accounts.institution() if wanted.institution == "own" else wanted.institution
    terms = wanted.terms(institution)
    account = _account(accounts, wanted.cell, institution)
    clock = SystemClock()
    with registrar(settings, clock, RandomIds(clock)) as register:
        secret, expires_ms = register.invite(account.cell or "", account.name, terms, wanted.operator)
    return Invite(hub_url, fingerprint(settings), secret, account.name, expires_ms)


def _account(accounts: Accounts, name: str, institution: str | None) -> Account:
    account = accounts.ensure(name, "cell", institution)
    if account.role != "cell" or account.institution != institution or account.disabled:
        raise BadInput("there is another account of this name, or one of another institution")
    return account


def fingerprint(settings: Settings) -> str:
    """SHA-256 of the hub's certificate where it vouches for itself, in hexadecimal; else empty."""
    if settings.http.tls_certificate is None:
        return ""
    certificate = x509.load_pem_x509_certificate(settings.http.tls_certificate.read_bytes())
    if certificate.issuer != certificate.subject:
        return ""
    return certificate.fingerprint(SHA256()).hex()
