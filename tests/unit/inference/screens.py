"""Screens of an ultrasound machine that nobody was examined with, and pictures that are none."""

import numpy as np


def fan(rows=480, columns=640, seed=1):
    """A sector of speckle with a dark vessel on black, and a line of letters above it; uint8 (rows, columns)."""
    y, x = np.mgrid[0 : 1 : rows * 1j, -0.5 : 0.5 : columns * 1j] * np.array([1.0, columns / rows])[:, None, None]
    radius, angle = np.hypot(x, y + 0.05), np.arctan2(x, y + 0.05)
    lit = (radius > 0.2) & (radius < 0.95) & (np.abs(angle) < 0.65)
    tissue = 70 * np.exp(-1.2 * radius) * (np.hypot(x - 0.05, (y - 0.55) * 1.4) > 0.15) + 12
    speckle = np.random.default_rng(seed).gamma(6.0, 1 / 6.0, (rows // 2 + 1, columns // 2 + 1))
    image = np.where(lit, tissue * speckle.repeat(2, 0).repeat(2, 1)[:rows, :columns] * 1.6, 0)
    image[rows // 80 : rows // 50, 10 : columns // 3 : 2] = 200
    return np.clip(image, 0, 255).astype(np.uint8)


def known_screen(seed=1):
    """The layout of the authors' images: logo, two bars, a sector below them; uint8 (735, 975)."""
    screen = np.zeros((735, 975), np.uint8)
    screen[:60, :60] = 45
    screen[44:72, 155:965] = 60
    speckle = np.random.default_rng(seed).gamma(3.0, 22.0, (662, 700))
    screen[73:735, 110:810] = np.clip(speckle, 0, 255)
    return screen


def photograph(rows=480, columns=640):
    """A bright picture from edge to edge: a sky, a meadow, something dark on it."""
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    grass = 110 + 25 * np.sin(90 * x + 40 * y) + np.random.default_rng(4).normal(0, 6, (rows, columns))
    image = np.where(y < 0.45, 190 + 30 * y, grass) - 90 * (np.hypot(x - 0.5, (y - 0.6) * 0.8) < 0.15)
    return np.clip(image, 0, 255).astype(np.uint8)
