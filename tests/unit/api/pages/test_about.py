from __future__ import annotations

import pytest

from api.pages.about import error_document
from bithive.errors import NotFound


def test_about_names_the_models(page):
    text = page.get("/about").text
    assert "Intracranial volume of a T1-weighted head" in text
    assert "It is never the volume of the brain" in text


def test_anyone_may_read_what_this_is(browser):
    text = browser(None).get("/about").text
    assert "has no regulatory clearance anywhere" in text
    assert "Sign out" not in text


async def test_a_code_without_a_page_is_not_found():
    with pytest.raises(NotFound):
        await error_document(None, "no-such-code")  # type: ignore[arg-type]
