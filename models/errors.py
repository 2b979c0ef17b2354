"""What can go wrong between a bundle's declaration and its weights on this machine."""

from __future__ import annotations

from bithive.errors import BadInput, Conflict, Fault, Forbidden, LimitExceeded, NotFound, Refused, Unavailable


class BundleAbsent(NotFound):
    code, title = "bundle-absent", "There is no such bundle or sample in the catalogue"


class BadBundle(BadInput):
    code, title = "bad-bundle", "The bundle's folder does not hold what a bundle must"


class WeightsAbsent(Unavailable):
    code, title = "weights-absent", "Weights are not in this machine's store yet"


class DownloadFailed(Unavailable):
    code, title = "download-failed", "Weights could not be fetched"


class WeightsDiffer(Fault):
    code, title = "weights-differ", "Weights are not the bytes that were pinned"


class ExpressionRefused(Refused):
    code, title = "expression-refused", "The bundle's configuration evaluates text that is not on the allow-list"


class TargetRefused(Refused):
    code, title = "target-refused", "The bundle's configuration names a class that is not on the allow-list"


class DirectiveRefused(Refused):
    code, title = "directive-refused", "The bundle's configuration uses a directive that is not spoken here"


class PickleRefused(Refused):
    code, title = "pickle-refused", "A checkpoint's pickle would call or import more than tensors need"


class TorchScriptRefused(Refused):
    code, title = "torchscript-refused", "A TorchScript archive holds more than a network needs"


class OnnxRefused(Refused):
    code, title = "onnx-refused", "An ONNX file refers to files or operators from elsewhere"


class BundleNeeds(Refused):
    code, title = "bundle-needs", "The bundle needs something that is not built here"


class ArchiveRefused(Refused):
    code, title = "archive-refused", "The bundle's archive or folder cannot be unpacked safely"


class ConversionFailed(Refused):
    code, title = "conversion-failed", "A checkpoint could not be converted into plain tensors"


class DownloadTooLarge(LimitExceeded):
    code, title = "download-too-large", "More was sent than was announced or is allowed"


class BundleTooLarge(LimitExceeded):
    code, title = "bundle-too-large", "The bundle has too many files, or they are too large"


class BundleExists(Conflict):
    code, title = "bundle-exists", "A bundle of that name comes with BitHive and is not replaced"


class BundleUnsigned(Forbidden):
    code, title = "bundle-unsigned", "The installed bundle is not signed by a key that is trusted here"


class BundleChanged(Fault):
    code, title = "bundle-changed", "An installed bundle is no longer what was signed"
