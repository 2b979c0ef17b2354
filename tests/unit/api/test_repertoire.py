"""What a hub can run, as bundles come and go while it runs."""

import shutil
import threading

import pytest

from api.repertoire import LOOK_PERIOD_S, InstalledRepertoire
from bithive.settings import CellSettings, ClinicSettings, ModelSettings, Settings
from pipelines.catalog import pipelines, without_pipeline
from tests.common import installed as made

DECLARED = set(pipelines())


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store" / "bundles").mkdir(parents=True)
    return tmp_path / "store" / "bundles"


@pytest.fixture
def install(tmp_path, store):
    """Puts a signed bundle into the store; arguments as for `tests.common.installed.installed`."""

    def put(*arguments, folder=store, **members):
        bundle = made.installed(folder, *arguments, **members)
        made.sign(bundle, tmp_path / "keys" / "models.key")
        return bundle

    return put


@pytest.fixture
def repertoire(tmp_path, clock):
    models = ModelSettings(store=tmp_path / "store", licences=("Apache-2.0",))
    return InstalledRepertoire(Settings(state=tmp_path, models=models), clock)


def test_without_installed_bundles_there_are_the_declared_tasks(repertoire):
    now = repertoire.now()
    assert set(now.pipelines) == DECLARED
    assert {pipeline.bundle for pipeline in now.pipelines.values()} <= set(now.bundles)


def test_a_store_that_is_not_there_yet_is_no_error(tmp_path, clock):
    models = ModelSettings(store=tmp_path / "nowhere")
    assert set(InstalledRepertoire(Settings(state=tmp_path, models=models), clock).now().pipelines) == DECLARED


def test_a_bundle_that_comes_is_noticed_after_a_while_and_one_that_goes_too(repertoire, store, install, clock):
    before = repertoire.now()
    install()
    assert repertoire.now() is before
    clock.advance_s(LOOK_PERIOD_S)
    after = repertoire.now()
    assert set(after.pipelines) - DECLARED == {"spleen_ct_segmentation"}
    clock.advance_s(LOOK_PERIOD_S)
    assert repertoire.now() is after
    shutil.rmtree(store / "spleen_ct_segmentation")
    clock.advance_s(LOOK_PERIOD_S)
    assert set(repertoire.now().pipelines) == DECLARED


def test_one_that_is_replaced_is_read_again(repertoire, store, install, tmp_path, clock):
    install()
    first = repertoire.now().bundles["spleen_ct_segmentation"]
    install(folder=tmp_path / "other", names=("spleen", "liver"))
    (store / "spleen_ct_segmentation").rename(tmp_path / "gone")
    (tmp_path / "other" / "spleen_ct_segmentation").rename(store / "spleen_ct_segmentation")
    clock.advance_s(LOOK_PERIOD_S)
    second = repertoire.now()
    assert second.bundles["spleen_ct_segmentation"].sha256 != first.sha256
    assert len(second.pipelines["spleen_ct_segmentation"].outputs) == 5


def test_a_licence_that_was_not_accepted_withholds(repertoire, store, install):
    install()
    install("liver_ct", ("liver",), licence="CC-BY-NC-4.0")
    found = repertoire.now().pipelines
    assert found["spleen_ct_segmentation"].withheld == ""
    assert found["liver_ct"].withheld == "licence-not-accepted"


def test_what_gives_no_pipeline_is_left_out_with_its_code(repertoire, store, install):
    install("heart_us", ("heart",), modality="US")
    install("tumour_mri", ("tumour",), modality="MR", inputs={"num_channels": 4})
    now = repertoire.now()
    assert set(now.pipelines) == DECLARED
    assert without_pipeline(now.bundles) == {"heart_us": "modality-unserved", "tumour_mri": "several-inputs"}


@pytest.mark.parametrize("spoil", ["unsigned", "changed", "malformed"])
def test_one_that_is_not_sound_takes_nothing_away(repertoire, store, install, clock, spoil):
    install()
    assert "spleen_ct_segmentation" in repertoire.now().pipelines
    if spoil == "unsigned":
        made.installed(store, "broken_ct")
    else:
        metadata = install("broken_ct").folder / "configs" / "metadata.json"
        metadata.write_text("{" if spoil == "malformed" else metadata.read_text().replace("CT", "MR"))
    clock.advance_s(LOOK_PERIOD_S)
    assert set(repertoire.now().pipelines) == {*DECLARED, "spleen_ct_segmentation"}


def test_many_who_ask_at_once_get_one_answer(repertoire, store, install):
    install()
    found = []
    threads = [threading.Thread(target=lambda: found.append(repertoire.now())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(item) for item in found}) == 1


T1, PLANES = "intracranial_volume_t1", "fetal_planes"


def looked(tmp_path, clock, **clinic):
    settings = Settings(state=tmp_path, models=ModelSettings(store=tmp_path / "store"), clinic=ClinicSettings(**clinic))
    return InstalledRepertoire(settings, clock)


def test_a_task_whose_weights_are_not_here_is_withheld_until_they_are(tmp_path, clock):
    repertoire = looked(tmp_path, clock)
    assert repertoire.now().pipelines[PLANES].withheld == "weights-absent"
    for pinned in repertoire.now().bundles[PLANES].weights:
        place = tmp_path / "store" / "sha256" / pinned.sha256[:2] / pinned.sha256
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.truncate(pinned.size_bytes)
    assert repertoire.now().pipelines[PLANES].withheld == "weights-absent", "it has just looked"
    clock.advance_s(LOOK_PERIOD_S)
    assert repertoire.now().pipelines[PLANES].withheld == ""


def test_what_needs_no_weights_is_on(tmp_path, clock):
    assert looked(tmp_path, clock).now().pipelines["lungs_ct"].withheld == ""


def test_what_a_cell_fetches_by_itself_is_on_from_the_beginning(tmp_path, clock):
    assert looked(tmp_path, clock).now().pipelines[T1].withheld == ""


def test_a_site_says_what_is_on(tmp_path, clock, store, install):
    install()
    found = looked(tmp_path, clock, pipelines=("spleen_ct_segmentation", "misspelt_ct")).now().pipelines
    assert found["spleen_ct_segmentation"].withheld == ""
    assert {item.withheld for name, item in found.items() if name in DECLARED} == {"switched-off"}
    assert "misspelt_ct" not in found


def test_where_the_cells_are_elsewhere_what_is_named_is_on_without_weights(tmp_path, clock):
    for named, withheld in (((PLANES,), ""), ((), "weights-absent")):
        settings = Settings(
            state=tmp_path,
            models=ModelSettings(store=tmp_path / "store"),
            clinic=ClinicSettings(pipelines=named),
            cell=CellSettings(embedded=False),
        )
        assert InstalledRepertoire(settings, clock).now().pipelines[PLANES].withheld == withheld


OWN = """\
name: ward_spleen
title: Spleen of our ward
bundle: {name: spleen_ct_segmentation, version: "0.5.9"}
intended_use: Volume of the spleen before and after treatment.
"""


def test_a_sites_own_file_is_picked_up_while_the_hub_runs(tmp_path, clock, store, install, capsys):
    repertoire = looked(tmp_path, clock)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "ward.yaml").write_text(OWN)
    assert "ward_spleen" not in repertoire.now().pipelines
    install()
    (tmp_path / "pipelines" / "broken.yaml").write_text("name: [")
    clock.advance_s(LOOK_PERIOD_S)
    found = repertoire.now()
    assert set(found.pipelines) - DECLARED == {"ward_spleen"}
    clock.advance_s(LOOK_PERIOD_S)
    assert repertoire.now() is found
    (tmp_path / "pipelines" / "ward.yaml").write_text(OWN + "on: false\n")
    clock.advance_s(LOOK_PERIOD_S)
    assert repertoire.now().pipelines["ward_spleen"].withheld == "switched-off"
    (tmp_path / "pipelines" / "ward.yaml").unlink()
    clock.advance_s(LOOK_PERIOD_S)
    assert set(repertoire.now().pipelines) - DECLARED == {"spleen_ct_segmentation"}


def test_a_t1_head_makes_one_workitem_where_only_the_first_weights_are(tmp_path, clock):
    from pipelines.match import match
    from tests.unit.pipelines.test_match import T1_HEAD

    found = match([T1_HEAD], looked(tmp_path, clock).now().pipelines)
    assert [item.pipeline.name for item in found] == [T1]
