"""What a hub can run, as bundles come and go while it runs."""

import shutil
import threading

import pytest

from api.repertoire import LOOK_PERIOD_S, InstalledRepertoire
from bithive.settings import ModelSettings, Settings
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
