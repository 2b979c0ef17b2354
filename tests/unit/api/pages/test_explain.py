from __future__ import annotations

import pytest

from api.pages import explain, markdown
from api.pages.model_card import card, cards
from pipelines.catalog import pipelines


def test_codes_are_explained_by_their_pages():
    assert explain.is_explained("not-found")
    assert explain.title("gantry-tilt") == "The slices were acquired with a tilted gantry"
    codes = dict(explain.codes())
    assert "index" not in codes
    assert all(codes.values()), [code for code, title in codes.items() if not title]


@pytest.mark.parametrize("code", ["", "../settings", "UPPER", "a" * 65, "index", "no-such-code", "..", "a/b"])
def test_nothing_else_is(code):
    assert not explain.is_explained(code)
    assert explain.explanation(code) is None


def test_a_code_is_a_page_for_a_person_and_markdown_for_a_program(page):
    shown = page.get("/docs/errors/gantry-tilt")
    assert shown.headers["content-type"].startswith("text/html")
    assert "tilted gantry" in shown.text
    assert "clinician.one" in shown.text
    assert "<strong>What to do.</strong>" in shown.text
    told = page.get("/docs/errors/gantry-tilt", headers={"Accept": "*/*"})
    assert told.headers["content-type"].startswith("text/markdown")
    assert page.get("/docs/errors/no-such-code").status_code == 404
    assert "gantry-tilt" in page.get("/docs/errors").text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "![a](https://elsewhere.example/x.png)",
        "<https://a.example>",
        "[a](data:text/html,x)",
        "[a](vbscript:x)",
    ],
)
def test_markdown_runs_nothing(text):
    shown = str(markdown.render(text))
    assert "<script" not in shown
    assert "<img" not in shown
    assert not any(f'href="{scheme}' in shown for scheme in ("javascript", "data", "vbscript"))


def test_markdown_shows_what_documents_need():
    shown = str(markdown.render("# A\n\n- `b` **c** [d](/e)\n\n| x | y |\n|---|---|\n| 1 | 2 |\n"))
    for part in ("<h1>A</h1>", "<code>b</code>", "<strong>c</strong>", '<a href="/e">d</a>', "<td>1</td>"):
        assert part in shown


def test_every_pipelines_bundle_has_a_card_with_what_a_clinician_asks():
    assert cards()
    for pipeline in pipelines().values():
        found = card(pipeline.bundle)
        assert found is not None
        assert {entry.name for entry in found.shown} == {"Intended use", "Population", "Evaluation"}
        assert {"Licence", "Authors"} <= {entry.name for entry in found.further}
        assert found.readme
        assert found.version == pipeline.bundle_version


def test_a_bundle_without_metadata_has_no_card():
    assert card("no_such_bundle") is None
    assert cards(["no_such_bundle"]) == []
