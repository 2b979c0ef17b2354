"""One Attempt at its cell: fetch the payload, have it run, hand in what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from bithive.clock import Clock
from bithive.envelope import PAYLOAD, BadEnvelope, Opener, seal
from bithive.errors import BitHiveError
from bithive.log import get
from bithive.offer import MemoryTooSmall
from bithive.receipt import Receipt
from cluster.agent_view import Identity
from cluster.attesting import Attesting
from cluster.data_classes import CLASS_REFUSED, Terms
from cluster.download import Download
from cluster.errors import AttemptAbsent, LeaseLost, NetworkUnreachable, RunnerDied, WorkFailed
from cluster.filters import admits, within
from cluster.heart import Heart
from cluster.key_release import BadWrappedKeys
from cluster.network_port import NetworkSide
from cluster.protocol import Grant, Welcome
from cluster.runner import Runner
from cluster.work import Assignment, Finished

T = TypeVar("T")

_BACKOFF_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_LATE_MS = 60_000


class Kept(Protocol):
    """Where a cell keeps its Receipts (`cluster.kept`)."""

    def keep(self, receipt: Receipt, counter: dict[str, Any] | None) -> None:
        """Keep a Receipt that was handed in, with what the network side answered."""


class Course:
    """Sees Attempts through.

    Parameters
    ----------
    network, runner, identity, clock, kept, attesting
        As for `cluster.agent.Agent`.
    """

    def __init__(
        self,
        network: NetworkSide,
        runner: Runner,
        identity: Identity,
        clock: Clock,
        kept: Kept | None,
        attesting: Attesting | None = None,
    ) -> None:
        self._network, self._runner, self._identity, self._clock = network, runner, identity, clock
        self._kept, self._terms, self._attesting = kept, identity.terms, attesting

    def admitted(self, terms: Terms | None) -> None:
        """What the network side says the cell was admitted for: counts once, where the cell itself was told nothing."""
        self._terms = self._terms or terms

    def nodes_of(self, welcome: Welcome, grant: Grant) -> dict[str, str]:
        """The Nodes that may run it, by key, the one it was meant for first; none where all of them have gone."""
        if not grant.nodes:
            return welcome.nodes
        able = {node: key for key, node in welcome.nodes.items()}
        return {able[node]: node for node in grant.nodes if node in able}

    def run(self, welcome: Welcome, grant: Grant, heart: Heart) -> None:
        """See one Attempt through, whatever comes of it."""
        get().info("attempt.taken", attempt=grant.attempt_id, offer=grant.offer.offer_id, bundle=grant.offer.bundle)
        try:
            self._see_through(welcome, grant, heart)
        except WorkFailed as error:
            self._give_up(grant, heart, error.failure)
        except RunnerDied:
            self._give_up(grant, heart, "runner-died")
        except (LeaseLost, AttemptAbsent):
            get().info("attempt.lost", attempt=grant.attempt_id)
        except BitHiveError as error:
            get().warning("attempt.refused", attempt=grant.attempt_id, code=getattr(error, "answer", error.code))

    def _see_through(self, welcome: Welcome, grant: Grant, heart: Heart) -> None:
        self._check(grant)
        grant = self._opened(grant)
        heart.tell("downloading", 0.0)
        if not (nodes := self.nodes_of(welcome, grant)):
            raise RunnerDied("no Node that may run it is here any more")
        assignment = _assignment(welcome, nodes, grant)
        finished = self._runner.run(assignment, self._fetch(grant, heart), heart)
        heart.tell("sealing", 1.0)
        sealed = b"".join(seal(grant.keys.payload_key, grant.fencing_token, finished.findings))
        hand_in = partial(self._network.findings, grant, finished.receipt, sealed, heart.times.text())
        counter = self._insist(grant, heart, hand_in)
        if self._kept is not None:
            self._kept.keep(finished.receipt, counter)
        _report(grant, finished)

    def _check(self, grant: Grant) -> None:
        """The cell's own gate, whatever the network side has granted. Raises `WorkFailed`."""
        offer, identity = grant.offer, self._identity
        if not within(offer.data_class, identity.data_class_max):
            raise WorkFailed(CLASS_REFUSED)
        if self._terms is not None:
            own = self._terms.narrowed(identity.tier, identity.residency, identity.data_class_max)
            # Of others a head or genome comes under wrapped keys only: plain ones would have been released to anybody.
            attested = grant.wrapped is not None and self._attesting is not None and self._attesting.attested
            if admits(own, offer, attested=attested) is not None:
                raise WorkFailed(CLASS_REFUSED)
        if offer.bundle_sha256 not in self._runner.bundles():
            raise WorkFailed("bundle-unknown")
        if offer.memory_bytes > max(node.memory_bytes for node in self._runner.nodes()):
            raise WorkFailed(MemoryTooSmall.code)

    def _opened(self, grant: Grant) -> Grant:
        """The Grant with its keys open. Raises `WorkFailed` where they are not for this process."""
        try:
            if self._attesting is not None:
                grant = self._attesting.opened(grant)
            grant.keys  # noqa: B018 - raises where they are wrapped still
        except BadWrappedKeys as error:
            raise WorkFailed(error.code) from None
        return grant

    def _fetch(self, grant: Grant, heart: Heart) -> bytearray:
        try:
            download = Download(lambda: Opener(grant.keys.payload_key, PAYLOAD, grant.offer.payload_size_bytes))
            self._insist(grant, heart, partial(self._network.payload, grant, download))
            return download.finish()
        except BadEnvelope:
            raise WorkFailed("payload-unreadable") from None
        except MemoryError:
            raise WorkFailed("out-of-memory") from None

    def _give_up(self, grant: Grant, heart: Heart, code: str) -> None:
        get().warning("attempt.failed", attempt=grant.attempt_id, code=code)
        try:
            self._insist(grant, heart, partial(self._network.failure, grant, code))
        except BitHiveError:
            get().info("attempt.lost", attempt=grant.attempt_id)

    def _insist(self, grant: Grant, heart: Heart, request: Callable[[], T]) -> T:
        """Ask until somebody answers, or the Lease is lost for certain."""
        failures = 0
        end_ms = grant.offer.deadline_ms + _LATE_MS
        while True:
            try:
                return request()
            except NetworkUnreachable:
                if heart.lost or self._clock.now_ms() > end_ms:
                    raise LeaseLost from None
                heart.pause(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1


def _assignment(welcome: Welcome, nodes: dict[str, str], grant: Grant) -> Assignment:
    offer = grant.offer
    return Assignment(
        grant.attempt_id,
        offer.offer_id,
        grant.fencing_token,
        welcome.cell,
        nodes,
        offer.bundle_sha256,
        offer.payload_digest,
        offer.voxels,
        offer.work_units,
        offer.memory_bytes,
        grant.keys.digest_key,
        offer.deadline_ms,
    )


def _report(grant: Grant, finished: Finished) -> None:
    receipt = finished.receipt
    get().info(
        "attempt.finished",
        attempt=grant.attempt_id,
        duration_ms=receipt.wall_ms,
        peak_memory_bytes=receipt.peak_memory_bytes,
        engine=receipt.engine,
    )
