from __future__ import annotations

import re

import pytest

from api.pages.render import HERE, STATIC

TEMPLATES = sorted((HERE / "templates").glob("*.html"))
SCRIPTS = sorted(STATIC.glob("*.js"))
SHEETS = sorted(STATIC.glob("*.css"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_holds_a_script_a_style_or_a_handler(path):
    text = path.read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert "| safe" not in text
    assert "|safe" not in text


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_assets_and_icons_of_a_template_exist(path):
    text = path.read_text("utf-8")
    for name in re.findall(r"asset\('([^']+)'\)", text):
        assert (STATIC / name).is_file(), name
    symbols = set(re.findall(r'<symbol id="([a-z]+)"', (STATIC / "icons.svg").read_text("utf-8")))
    assert set(re.findall(r"icon\('([a-z]+)'\)", text)) <= symbols


@pytest.mark.parametrize("path", [*TEMPLATES, *SCRIPTS, *SHEETS], ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path):
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|url\(|@import|//cdn", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_small_and_evaluate_nothing(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < 400
    assert not re.search(r"\beval\(|new Function|document\.write|outerHTML", text)
    for name in re.findall(r'from "\./([^"]+)"|import "\./([^"]+)"', text):
        assert (STATIC / (name[0] or name[1])).is_file()


def test_pages_carry_the_strict_policy_and_are_not_kept(page, browser):
    answers = [page.get(address) for address in ("/studies", "/upload", "/about", "/docs/errors")]
    for answer in [*answers, browser(None).get("/sign-in"), browser(None).get("/enter")]:
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_every_page_says_that_it_is_not_for_diagnosis(house, page, browser):
    house.done()
    clients = ((page, ("/studies", "/studies/1.2.3.100", "/upload", "/about", "/docs/errors", "/nowhere")),
               (browser(None), ("/sign-in", "/enter")), (browser("auditor"), ("/access-log",)))  # fmt: skip
    for client, addresses in clients:
        for address in addresses:
            text = client.get(address).text
            assert "Not for diagnosis. Not a medical device." in text, address
            assert '<a class="skip" href="#main">' in text
            assert text.count("<h1") == 1, address


def _colours(sheet):
    return {
        name: (light, dark)
        for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", sheet)
    }


def _luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_the_contrast_of_level_aa_in_both_schemes():
    colours = _colours((STATIC / "base.css").read_text("utf-8"))
    pairs = [(text, ground) for text in ("text", "muted", "accent") for ground in ("ground", "surface", "raised")]
    pairs += [
        ("on-accent", "accent"),
        ("accent-strong", "accent-soft"),
        ("text", "quiet-soft"),
        ("muted", "quiet-soft"),
    ]
    pairs += [(name, f"{name}-soft") for name in ("good", "bad", "warn")]
    pairs += [(name, "surface") for name in ("good", "bad", "warn")]
    for scheme in (0, 1):
        for text, ground in pairs:
            ratio = _contrast(colours[text][scheme], colours[ground][scheme])
            assert ratio >= 4.5, (text, ground, scheme, round(ratio, 2))
        for edge in ("line-strong", "focus"):
            assert _contrast(colours[edge][scheme], colours["surface"][scheme]) >= 3
