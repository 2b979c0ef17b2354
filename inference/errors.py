"""What can be wrong with an array, its geometry, or what a network made of it."""

from __future__ import annotations

from bithive.errors import BadInput, Fault, LimitExceeded, Refused, Unavailable, Unsupported


class BadVolume(BadInput):
    code, title = "bad-volume", "The volume cannot be read"


class BadFindings(BadInput):
    code, title = "bad-findings", "The findings cannot be read"


class UnsupportedVolume(Refused):
    code, title = "unsupported-volume", "The volume lies outside what this bundle accepts"


class NotSkullStripped(Refused):
    code, title = "not-skull-stripped", "The images are not of a brain without its skull, as this bundle needs"


class AnatomyAbsent(Refused):
    code, title = "anatomy-absent", "The anatomy that this bundle measures was not found"


class LungAbsent(Refused):
    code, title = "no-lung", "No lung is in the field of view"


class NotAChestRadiograph(Refused):
    code, title = "not-a-chest-radiograph", "The image is not a frontal chest radiograph as far as can be told"


class AnatomyTruncated(Refused):
    code, title = "anatomy-truncated", "The anatomy that this bundle measures is cut off by the edge of the image"


class ImplausibleFindings(Refused):
    code, title = "implausible-findings", "The findings are not plausible, so none are given"


class BundleRefused(Refused):
    code, title = "bundle-refused", "The bundle's configuration is not on the allow-list"


class TransformUnsupported(Refused):
    code, title = "transform-unsupported", "The bundle asks for a transform that is not carried out here"


class EngineAbsent(Unavailable):
    code, title = "engine-absent", "The inference engine is not available on this node"


class EngineUnfit(Unavailable):
    code, title = "engine-unfit", "No engine of this node shows the parity that the bundle asks for"


class EngineFault(Fault):
    code, title = "engine-fault", "The inference engine failed"


class BadDataset(BadInput):
    code, title = "bad-dataset", "It is not a data set that can be evaluated"


class DatasetTooLarge(LimitExceeded):
    code, title = "dataset-too-large", "The data set is larger than is evaluated at once"


class NotEvaluable(Unsupported):
    code, title = "not-evaluable", "The bundle does not say how it is to be evaluated"
