from __future__ import annotations

from api.pages import render, static_files


def test_static_files_are_kept_for_ever_under_their_digest_and_nothing_else_is_served(page):
    address = render.asset("base.css")
    answer = page.get(address)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert page.get(address, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert page.get("/static/other/base.css").headers["cache-control"] == "no-cache"
    for name in ("..%2frender.py", "render.py", "base.css.map", ".css", "%2e%2e/render.py", "nothing.css"):
        assert page.get(f"/static/x/{name}").status_code == 404, name
    assert page.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_what_is_served_runs_nothing_when_opened_by_itself(page):
    policy = page.get(render.asset("icons.svg")).headers["content-security-policy"]
    assert "sandbox" in policy
    assert "script-src" not in policy


def test_only_kinds_that_pages_use_are_served():
    assert {path.suffix for path in render.STATIC.iterdir()} <= set(static_files.TYPES)
