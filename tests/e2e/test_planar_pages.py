"""Planar images in a real browser: one image, a slider through its frames, no planes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.common import planar
from tests.e2e.test_pages import PHONE, WIDE, address, chromium, eyes, house

pytestmark = pytest.mark.heavy
__all__ = ["address", "chromium", "eyes", "house"]

STUDY = "/studies/1.2.3.200"


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_a_clip_is_walked_frame_by_frame(house, eyes, size):
    sector = planar.sector(120, 160)
    house.side.receive([planar.ultrasound(np.stack([sector, sector // 2, sector // 4]))])
    look = eyes(size)
    page = look.open(STUDY)
    look.says("[data-plane=frame] [data-position]", "1/3")
    look.says("#caption", "3 images of 160 x 120 pixels.")
    assert page.locator(".pane:visible").count() == 1
    screen = page.locator("[data-plane=frame] .screen")
    screen.focus()
    page.keyboard.press("End")
    look.says("[data-plane=frame] [data-position]", "3/3")
    look.says("[data-plane=frame] .pick", "image 1, frame 3")
    assert page.locator("[data-plane=frame] .slice").input_value() == "3"
    box = screen.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size[0]
    assert box["height"] < size[1]
    page.select_option("#preset", label="Inverted")
    look.says("#window", "W 255 L 128")


def test_colour_is_shown_as_it_is(house, eyes):
    coloured = np.zeros((60, 80, 3), np.uint8)
    coloured[..., 0] = 200
    house.side.receive([planar.ultrasound(coloured)])
    look = eyes()
    page = look.open(STUDY)
    look.wait(lambda: page.locator("#flat img").is_visible(), "the picture is there")
    red = page.evaluate(
        """() => {
            const image = document.querySelector("#flat img"), canvas = document.createElement("canvas");
            canvas.width = canvas.height = 1;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }"""
    )
    assert red == [200, 0, 0]
    assert not page.locator("#planes").is_visible()
