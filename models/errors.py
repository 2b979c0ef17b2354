"""What can go wrong between a bundle's declaration and its weights on this machine."""

from __future__ import annotations

from bithive.errors import BadInput, Fault, NotFound, Unavailable


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
