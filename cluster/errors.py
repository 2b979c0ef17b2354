"""What can go wrong between institutions, the broker and cells."""

from __future__ import annotations

from bithive.errors import (
    BadInput,
    BadSettings,
    Conflict,
    Fault,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
    Unsupported,
)


class ProtocolUnsupported(Unsupported):
    code, title = "protocol-unsupported", "This version of the network protocol is not spoken here"


class BadMessage(BadInput):
    code, title = "bad-message", "The message is malformed"


class OfferAbsent(NotFound):
    code, title = "offer-absent", "There is no such Offer, or it is not yours"


class OfferExists(Conflict):
    code, title = "offer-exists", "Another Offer has this id"


class AttemptAbsent(NotFound):
    code, title = "attempt-absent", "There is no such Attempt, or it is not yours"


class FindingsAbsent(NotFound):
    code, title = "findings-absent", "The Attempt has no findings (any more)"


class CellUnknown(NotFound):
    code, title = "cell-unknown", "The cell has not said hello"


class PayloadSizeDiffers(BadInput):
    code, title = "payload-size-differs", "The content is not as long as announced"


class TooManyOffers(Unavailable):
    code, title = "too-many-offers", "The institution has too many unfinished Offers"


class BrokerBusy(Unavailable):
    code, title = "broker-busy", "Others changed the same Offer at the same time; try again"


class LeaseLost(Conflict):
    code, title = "lease-lost", "The Lease is over: the Attempt is no longer this cell's"


class ReceiptRefused(Refused):
    code, title = "receipt-refused", "The Receipt does not hold"


class ReceiptReplayed(ReceiptRefused):
    code, title = "receipt-replayed", "The Receipt is of another Attempt"


class ForeignSignature(ReceiptRefused):
    code, title = "foreign-signature", "The Receipt is not signed by a registered node of this cell"


class BundleDiffers(ReceiptRefused):
    code, title = "bundle-differs", "Another bundle ran than the one that was asked for"


class DigestDiffers(ReceiptRefused):
    code, title = "digest-differs", "A digest or size in the Receipt is not that of the bytes"


class WorkUnitsDiffer(ReceiptRefused):
    code, title = "work-units-differ", "The Receipt claims other work units than the Offer fixed"


class WallTimeImplausible(ReceiptRefused):
    code, title = "wall-time-implausible", "The measured time does not fit the Lease"


class MemoryImplausible(ReceiptRefused):
    code, title = "memory-implausible", "The measured memory does not fit the payload or the node"


class MeasurementImplausible(ReceiptRefused):
    code, title = "measurement-implausible", "The measured processor time or threads do not fit the node"


class FindingsUnreadable(ReceiptRefused):
    code, title = "findings-unreadable", "The findings cannot be opened or read"


class GeometryDiffers(ReceiptRefused):
    code, title = "geometry-differs", "The findings do not have the shape of the Volume"


class NetworkUnreachable(Unavailable):
    code, title = "network-unreachable", "The network side does not answer"


class NetworkRefused(Fault):
    """The network side answered with a problem; `answer` is its code."""

    code, title = "network-refused", "The network side declined the request"

    def __init__(self, answer: str, status: int) -> None:
        super().__init__(f"the network side answered {answer}", answer=answer, answer_status=status)
        self.answer, self.answer_status = answer, status


class RunnerDied(Fault):
    code, title = "runner-died", "What runs the bundle has died"


class SandboxAbsent(Fault):
    code, title = "sandbox-absent", "This machine cannot confine what runs bundles"


class RaySettingsDiffer(BadSettings):
    code, title = "ray-settings-differ", "Ray does not run as it was told to"


class CellUnconfigured(BadSettings):
    code, title = "cell-unconfigured", "The cell lacks an address or a token"


class WorkFailed(Fault):
    """An Attempt that ends without findings; `failure` is its code in `cluster.failures`."""

    code, title = "work-failed", "The bundle gave no findings"

    def __init__(self, failure: str) -> None:
        super().__init__(f"the Attempt failed: {failure}", failure=failure)
        self.failure = failure


class BadTimetable(BadInput):
    code, title = "bad-timetable", "The timetable is malformed"


class BadCaps(BadInput):
    code, title = "bad-caps", "A bound that the contributor set is out of range"


class BadProfile(BadSettings):
    code, title = "bad-profile", "The profile of this machine cannot be read"


class AgentAbsent(Unavailable):
    code, title = "agent-absent", "No agent runs on this machine"


class AgentRunning(BadSettings):
    code, title = "agent-running", "Another agent runs on this state folder"


class AgentRefused(Conflict):
    """The agent of this machine declined; `answer` is its code."""

    code, title = "agent-refused", "The agent of this machine declined"

    def __init__(self, answer: str, detail: str = "") -> None:
        super().__init__(detail or f"the agent answered {answer}", answer=answer)
        self.answer = answer


class KeyRevoked(ReceiptRefused):
    code, title = "key-revoked", "The key was revoked or replaced"


class SignatureRequired(Unauthenticated):
    code, title = "signature-required", "Requests of this cell are signed by its key"


class SignatureRefused(Unauthenticated):
    code, title = "signature-refused", "The request is not signed by the cell's key"


class SignatureReplayed(Unauthenticated):
    code, title = "signature-replayed", "The signed request was seen before, or is too old or too new"


class InviteSpent(Unauthenticated):
    code, title = "invite-spent", "The invite is not valid (any more)"


class BadInvite(BadInput):
    code, title = "bad-invite", "The invite cannot be read"


class NodeUnknown(NotFound):
    code, title = "node-unknown", "There is no such node, or it is not yours"


class KeyUnproven(Refused):
    code, title = "key-unproven", "A node's key comes without proof that its machine holds it"


class WallAbsent(BadSettings):
    code, title = "wall-absent", "The cell's wall cannot be raised on this machine"


class WallOpen(BadSettings):
    code, title = "wall-open", "The cell's wall has a way in or out that it must not have"


class BadCellInvite(BadInput):
    code, title = "bad-cell-invite", "The invite to a cell is damaged, or its code is another's"


class CellInviteExpired(Refused):
    code, title = "cell-invite-expired", "The invite to a cell may not be used any more"


class MachineUnfit(Refused):
    code, title = "machine-unfit", "This machine cannot be part of a cell"


class AlreadyJoined(Conflict):
    code, title = "already-joined", "This state folder belongs to a cell already"


class HubDiffers(Refused):
    code, title = "hub-differs", "The hub shows another certificate than the invite promises"


class NotOurFolder(Refused):
    code, title = "not-our-folder", "Other things lie in the state folder"


class WorkUnfinished(Conflict):
    code, title = "work-unfinished", "Something still runs on this machine"
