"""Why a series is not analysed, and what else can go wrong between a study and its findings.

Every class is one situation; its code ends a Workitem, stands on the study's page and has a page in `docs/errors/`.
"""

from __future__ import annotations

from bithive.errors import Conflict, Fault, Forbidden, NotFound, Refused, Unavailable

CORRECTIONS = {
    "tilt-corrected": "The gantry was tilted; the planes were moved into a rectangular block.",
    "spacing-corrected": "The slices lie at uneven distances; they were interpolated to even ones.",
    "shift-corrected": "The slices are shifted by less than a pixel; they were moved into line.",
    "duplicates-dropped": "Images that were sent twice were used once.",
    "localiser-dropped": "A localiser in the series was left out.",
    "uids-corrected": "The images came with blank UIDs; they are known by those that the archive gave them.",
}
"""What was put right in a series before it was analysed: code and sentence of each warning in `Grid.warnings`."""


REMARKS = {
    "outside-population": "The patient is outside the intended population, or the age is not known: this was not "
    "validated for such patients, and nothing is flagged.",
}
"""What has to be said with findings: code and sentence of each of `Workitem.remarks`."""


class NoGeometry(Refused):
    code, title = "no-geometry", "The images do not say where they lie in the patient"


class GantryTilt(Refused):
    code, title = "gantry-tilt", "The slices were acquired with a tilted gantry and form no rectangular block"


class ShiftedSlices(Refused):
    code, title = "shifted-slices", "The slices are shifted against one another irregularly"


class UnevenSpacing(Refused):
    code, title = "uneven-spacing", "The slices do not lie at even distances"


class MissingSlices(Refused):
    code, title = "missing-slices", "Slices are missing inside the series"


class DuplicatePositions(Refused):
    code, title = "duplicate-positions", "Several different images lie at one position"


class SeveralVolumes(Refused):
    code, title = "several-volumes", "The series holds several volumes at the same place"


class Mosaic(Refused):
    code, title = "mosaic", "Each image of the series is a mosaic of many slices"


class MixedOrientations(Refused):
    code, title = "mixed-orientations", "The images of the series do not share one orientation"


class MixedSizes(Refused):
    code, title = "mixed-sizes", "The images of the series do not share one size"


class MixedSpacing(Refused):
    code, title = "mixed-spacing", "The images of the series do not share one pixel spacing"


class OtherFrameOfReference(Refused):
    code, title = "other-frame-of-reference", "The series that are needed together do not share one frame of reference"


class MixedFrames(Refused):
    code, title = "mixed-frames-of-reference", "The images of the series do not share one frame of reference"


class LocaliserMixedIn(Refused):
    code, title = "localiser-mixed-in", "A localiser is mixed in with the images of the series"


class TooFewSlices(Refused):
    code, title = "too-few-slices", "One slice is not a volume"


class MultiFrame(Refused):
    code, title = "multi-frame", "The multi-frame image does not say of each frame where it lies"


class ForProcessing(Refused):
    code, title = "for-processing", "The image is raw detector output, not meant to be looked at"


class NoView(Refused):
    code, title = "other-view", "No image of the series was taken from the side that is needed"


class TooManyFrames(Refused):
    code, title = "too-many-frames", "The series holds more images than are analysed at once"


class VolumeTooLarge(Refused):
    code, title = "volume-too-large", "The images are more than a volume may hold"


class UnsupportedPixels(Refused):
    code, title = "unsupported-pixels", "The pixels are of a kind that is not analysed"


class UndecodablePixels(Refused):
    code, title = "undecodable-pixels", "The pixels cannot be decoded"


class TruncatedPixels(Refused):
    code, title = "truncated-pixels", "The pixels are shorter than the header says"


class NoHounsfield(Refused):
    code, title = "no-hounsfield", "The CT images do not say how pixel values become Hounsfield units"


class Superseded(Refused):
    code, title = "superseded", "Later images of the series replaced this analysis"


class FindingsRefused(Refused):
    code, title = "findings-refused", "The findings that came back do not fit what was sent"


class ClassWithheld(Refused):
    code, title = "data-class-withheld", "Images of this data class are not given to the network side that is set up"


class OfferRefused(Refused):
    code, title = "offer-refused", "The network does not take the Offer"


class OfferExhausted(Refused):
    code, title = "offer-exhausted", "No Cell could finish it in time"


class WritingFailed(Fault):
    code, title = "writing-failed", "The findings could not be written as DICOM"


class MisplacedFrame(Fault):
    code, title = "misplaced-frame", "A frame of the segmentation does not lie where its source does"


class SegmentationTooLarge(Refused):
    code, title = "segmentation-too-large", "The segmentation is larger than an archive takes as one instance"


class MapTooLarge(Refused):
    code, title = "map-too-large", "The parametric map is larger than an archive takes as one instance"


class NetworkUnreachable(Unavailable):
    code, title = "network-silent", "The network side does not answer; the study waits"


class NetworkForbids(Unavailable):
    code, title = "network-forbids", "The network side does not accept this institution's credential; the study waits"


class ResultsNotStored(Unavailable):
    code, title = "results-not-stored", "The archive could not store the findings; it is tried again"


class WorkitemAbsent(NotFound):
    code, title = "workitem-absent", "There is no such Workitem"


class StaleWorkitem(Conflict):
    code, title = "stale-workitem", "Somebody else changed the Workitem meanwhile"


class NotReviewable(Conflict):
    code, title = "not-reviewable", "Only completed findings can be accepted or rejected"


class AlreadyReviewed(Conflict):
    code, title = "already-reviewed", "The findings were already judged otherwise"


class NotRepeatable(Conflict):
    code, title = "not-repeatable", "Only an analysis that was canceled can be repeated"


class NoPlane(NotFound):
    code, title = "no-plane", "The volume has no such plane"


class ReviewerUnnamed(Forbidden):
    code, title = "reviewer-unnamed", "Whoever judges findings has a name"
