"""What can be wrong with an array, its geometry, or what a network made of it."""

from __future__ import annotations

from bithive.errors import BadInput, Fault, Refused, Unavailable


class BadVolume(BadInput):
    code, title = "bad-volume", "The volume cannot be read"


class BadFindings(BadInput):
    code, title = "bad-findings", "The findings cannot be read"


class UnsupportedVolume(Refused):
    code, title = "unsupported-volume", "The volume lies outside what this bundle accepts"


class AnatomyAbsent(Refused):
    code, title = "anatomy-absent", "The anatomy that this bundle measures was not found"


class ImplausibleFindings(Refused):
    code, title = "implausible-findings", "The findings are not plausible, so none are given"


class BundleRefused(Refused):
    code, title = "bundle-refused", "The bundle's configuration is not on the allow-list"


class EngineAbsent(Unavailable):
    code, title = "engine-absent", "The inference engine is not available on this node"


class EngineFault(Fault):
    code, title = "engine-fault", "The inference engine failed"
