from __future__ import annotations

from fastapi import FastAPI

from api.pages.router import common, router


def test_pages_are_no_part_of_a_programs_interface():
    app = FastAPI()
    app.include_router(common)
    app.include_router(router)
    assert app.openapi()["paths"] == {}
