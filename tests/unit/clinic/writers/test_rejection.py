import io

import pydicom

from clinic.writers import rejection, write
from tests.common.dicom_factory import make_series
from tests.common.written import context, findings_of, source_of


def test_a_note_takes_back_every_object_and_keeps_the_patient():
    source = source_of(make_series((6, 8, 7), patient={"PatientSex": "X", "StudyTime": "1050"}))
    objects = write(source, findings_of(source), context())
    contents = [item.content for item in objects]
    made = rejection.write(contents, "1.2.8", "1.2.9", "Berg^", "Hospital", 1_900_000_000_000)
    note = pydicom.dcmread(io.BytesIO(made.content))
    assert (made.kind, made.sop_class, note.SOPInstanceUID) == ("rejection", rejection.KEY_OBJECT_SELECTION, "1.2.9")
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    referenced = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert referenced == {item.sop_uid for item in objects}
    assert (note.PatientID, note.PatientSex, note.StudyTime, note.StudyInstanceUID) == ("T-1", "X", "1050", "1.2.3.100")
    assert (note.Manufacturer, note.InstitutionName, note.SeriesNumber) == ("BitHive", "Test Hospital", 90_039)
    assert note.InstanceCreationDate.startswith("2030")
    again = rejection.write(contents, "1.2.8", "1.2.9", "Berg^", "Hospital", 1_900_000_000_000)
    assert again.content == made.content


def test_everything_a_pipeline_declares_is_written():
    source = source_of(make_series((6, 8, 7)))
    objects = write(source, findings_of(source), context())
    assert [item.kind for item in objects] == ["seg", "sr", "sc"]
    assert len({item.sop_uid for item in objects} | {item.series_uid for item in objects}) == 6
