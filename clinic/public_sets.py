"""Studies that are public: from a published set, submitted as such by somebody who may say so.

The declaration comes before the images, so that no study of a patient becomes a public one: of a study that is here
already the images themselves must say that the identity was removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bithive.clock import Clock
from bithive.errors import BadInput, Conflict
from clinic.access_log import Access, AccessLog
from clinic.archive import Archive
from clinic.attributes import Level
from clinic.instance import InstanceRow
from clinic.query import by_uid

STUDIES_MAX = 1000
LICENCES = frozenset(
    {
        *("CC0-1.0", "PDDL-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0"),
        *("CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "ODC-By-1.0", "MIT", "Apache-2.0", "BSD-3-Clause", "Unlicense"),
    }
)
"""SPDX identifiers of licences that let anybody, also somebody who is paid for it, compute on a set."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()-]{1,62}[A-Za-z0-9)]")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class Basis(StrEnum):
    """By what it is known that the identity was removed."""

    FLAGS = "flags"
    """Patient Identity Removed (0012,0062) is YES in every image."""
    MANIFEST = "manifest"
    """The published set's own statement, in a file beside the images."""


class BadPublicSet(BadInput):
    code, title = "bad-public-set", "The declaration of a public set is malformed"


class LicenceUnsuitable(BadInput):
    code, title = "licence-unsuitable", "The licence does not let everybody compute on the set"


class StudyNotPublic(Conflict):
    code, title = "study-not-public", "The study is here already, and its images do not say that it is public"


@dataclass(frozen=True, slots=True)
class PublicStudy:
    """What was declared of one study.

    Attributes
    ----------
    institution, study_uid
        Which.
    name, licence
        The published set it is from, and its SPDX identifier.
    basis
        By what it is known that the identity was removed.
    account, at_ms
        Who declared it, and when.
    """

    institution: str
    study_uid: str
    name: str
    licence: str
    basis: Basis
    account: str
    at_ms: int


class PublicStore(Protocol):
    """Declarations by study."""

    def add(self, studies: Sequence[PublicStudy]) -> None:
        """Store them durably, all or none; the first declaration of a study stands."""

    def public(self, institution: str, study_uid: str) -> PublicStudy | None:
        """What was declared of a study."""


class MemoryPublicStore:
    """Declarations in a dictionary: for tests and demonstrations."""

    def __init__(self) -> None:
        self._studies: dict[tuple[str, str], PublicStudy] = {}

    def add(self, studies: Sequence[PublicStudy]) -> None:
        for study in studies:
            self._studies.setdefault((study.institution, study.study_uid), study)

    def public(self, institution: str, study_uid: str) -> PublicStudy | None:
        return self._studies.get((institution, study_uid))


class PublicSets:
    """Use cases of public studies.

    Parameters
    ----------
    store
        Where declarations are kept.
    clock
        Time.
    archive
        Where a study may be already.
    against
        What images say against being public (`clinic.data_class.why_not_public`).
    """

    def __init__(
        self,
        store: PublicStore,
        clock: Clock,
        archive: Archive,
        against: Callable[[Sequence[InstanceRow], Basis], str | None],
    ) -> None:
        self._store, self._clock, self._archive, self._against = store, clock, archive, against

    def declare(
        self,
        institution: str,
        account: str,
        study_uids: Sequence[str],
        name: str,
        licence: str,
        basis: Basis,
        access_log: AccessLog,
    ) -> list[PublicStudy]:
        """Note that studies are public. Logged before it counts.

        Parameters
        ----------
        institution, account
            For whom, and who says so.
        study_uids
            Which; they come afterwards, or their images say so themselves.
        name, licence
            The published set, and its SPDX identifier.
        basis
            By what it is known that the identity was removed.

        Raises
        ------
        BadPublicSet, LicenceUnsuitable
            If the declaration does not hold by itself.
        StudyNotPublic
            If one is here already and its images do not say that they are public.
        """
        wanted = sorted(set(study_uids))
        if not 0 < len(wanted) <= STUDIES_MAX:
            raise BadPublicSet(f"a declaration names 1 to {STUDIES_MAX} studies")
        if not all(len(uid) <= 64 and _UID.fullmatch(uid) for uid in wanted):
            raise BadPublicSet("a Study Instance UID is malformed")
        if not _NAME.fullmatch(name):
            raise BadPublicSet("a set's name has 3 to 64 letters, digits, blanks and . _ ( ) -")
        if licence not in LICENCES:
            raise LicenceUnsuitable(f"one of {', '.join(sorted(LICENCES))}")
        for uid in wanted:
            if self._store.public(institution, uid) is None:
                here = self._here(institution, uid)
                # Images that are here already were not submitted as public: what they say themselves is all there is.
                if here and self._against(here, Basis.FLAGS) is not None:
                    raise StudyNotPublic
        now_ms = self._clock.now_ms()
        made = [PublicStudy(institution, uid, name, licence, basis, account, now_ms) for uid in wanted]
        for study in made:
            access_log.record(institution, account, Access.PUBLISHED, study.study_uid)
        self._store.add(made)
        return made

    def _here(self, institution: str, study_uid: str) -> list[InstanceRow]:
        """The instances of a study that are in the archive."""
        found = self._archive.search(institution, Level.SERIES, by_uid(study_uid))
        series = [item.series.series_uid for item in found if item.series is not None]
        return [row for uid in series for row in self._archive.series(institution, uid)]
