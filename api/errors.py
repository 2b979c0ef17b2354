"""What can go wrong at the edge."""

from __future__ import annotations

from bithive.errors import BadInput, BadSettings, BitHiveError, Conflict, Fault, Forbidden, NotFound, Unauthenticated


class InvalidRequest(BadInput):
    code, title = "invalid-request", "A member of the request is missing or malformed"


class MethodNotAllowed(BitHiveError):
    code, title, status = "method-not-allowed", "This address does not take that method", 405


class Internal(Fault):
    code, title = "internal", "Something failed inside BitHive; nothing was lost that was acknowledged"


class OtherOrigin(Forbidden):
    code, title = "other-origin", "A page of another origin may not act for you"


class LinkSpent(Unauthenticated):
    code, title = "link-spent", "This link was used already, or its time is over"


class AccountExists(Conflict):
    code, title = "account-exists", "An account of that name exists"


class AccountAbsent(NotFound):
    code, title = "account-absent", "There is no account of that name"


class PipelineAbsent(NotFound):
    code, title = "pipeline-absent", "There is no pipeline of that name"


class SideAbsent(NotFound):
    code, title = "side-absent", "This process does not serve that side"


class NotOurPackage(BadSettings):
    code, title = "not-our-package", "Another package hides one of BitHive's"


class AssertionsOff(BadSettings):
    code, title = "assertions-off", "BitHive does not run with assertions switched off"


class SecretAbsent(BadSettings):
    code, title = "secret-absent", "No secret is configured"


class TlsAbsent(BadSettings):
    code, title = "tls-absent", "Anything but loopback needs TLS"


class DemoExposed(BadSettings):
    code, title = "demo-exposed", "A demonstration listens on loopback only"


class StateBusy(BadSettings):
    code, title = "state-busy", "Another hub uses this state folder"


class CellFailed(Fault):
    code, title = "cell-failed", "The local cell did not become ready"


class StepFailed(Fault):
    code, title = "step-failed", "A step of the demonstration did not hold"
