import pytest

from bithive.settings import ModelSettings
from models.licence import UNKNOWN, accepted, of_bundle, spdx

APACHE = "Apache License\nVersion 2.0, January 2004\nhttp://www.apache.org/licenses/\n"
MIT = 'MIT License\nPermission is hereby granted, free of charge, to any person\nTHE SOFTWARE IS PROVIDED "AS IS", WITHOUT'
BSD = "Redistribution and use in source and binary forms, with or without modification, are permitted"


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("MIT", "MIT"),
        ("apache-2.0", "Apache-2.0"),
        ("Apache License 2.0", "Apache-2.0"),
        (" CC BY-NC 4.0 ", "CC-BY-NC-4.0"),
        (APACHE, "Apache-2.0"),
        (MIT, "MIT"),
        (BSD, "BSD-2-Clause"),
        (BSD + " Neither the name of", "BSD-3-Clause"),
        ("Creative Commons Attribution 4.0 International", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("GNU GENERAL PUBLIC LICENSE Version 3", "GPL-3.0-only"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE Version 3", "AGPL-3.0-only"),
        (APACHE + "The weights are for non-commercial use.", UNKNOWN),
        (MIT + " research use only", UNKNOWN),
        ("See license.txt", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_names_and_texts_are_recognised(text, identifier):
    assert spdx(text) == identifier


class Bundle:
    def __init__(self, licence):
        self.licence = licence


def test_what_is_not_permissive_is_not_accepted_by_default():
    defaults = ModelSettings().licences
    assert all(accepted(Bundle(name), defaults) for name in ("MIT", "Apache-2.0", "CC-BY-4.0", "apache-2.0"))
    for name in ("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "AGPL-3.0-only", UNKNOWN):
        assert not accepted(Bundle(name), defaults)
        assert accepted(Bundle(name), (*defaults, name))


def test_metadata_counts_before_the_file_and_a_link_not_at_all(tmp_path):
    (tmp_path / "LICENSE").write_text(APACHE)
    assert of_bundle(tmp_path, {"license": {"weights": "MIT", "bundle": "Apache-2.0"}}) == "MIT"
    assert of_bundle(tmp_path, {"license": "See license.txt"}) == "Apache-2.0"
    assert of_bundle(tmp_path, {}) == "Apache-2.0"
    (tmp_path / "LICENSE").write_text("all rights reserved")
    assert of_bundle(tmp_path, {}) == UNKNOWN
    (tmp_path / "LICENSE").unlink()
    (tmp_path / "LICENSE").symlink_to("/etc/hostname")
    assert of_bundle(tmp_path, {}) == UNKNOWN
