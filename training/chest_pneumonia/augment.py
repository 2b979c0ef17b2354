"""Changes that leave the finding as it is: where the child lies, how the film was exposed, how sharp it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION_DEGREES, ZOOM, SHIFT, SHEAR = 12.0, 0.15, 0.1, 0.08
GAMMA, CONTRAST, BRIGHTNESS, NOISE = 0.35, 0.25, 0.12, 0.03


def augmented(films: Tensor, random: torch.Generator) -> Tensor:
    """Films as they might as well have been taken.

    Parameters
    ----------
    films
        (n, 1, 28, 28), grey levels 0 to 1.
    random
        Where chance comes from.
    """
    count = len(films)

    def drawn(spread: float) -> Tensor:
        return (torch.rand(count, generator=random) * 2 - 1) * spread

    angle, zoom = drawn(math.radians(ROTATION_DEGREES)), 1 + drawn(ZOOM)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = zoom * torch.cos(angle), -torch.sin(angle) + drawn(SHEAR)
    theta[:, 1, 0], theta[:, 1, 1] = torch.sin(angle), zoom * torch.cos(angle) * (1 + drawn(0.08))
    theta[:, 0, 2], theta[:, 1, 2] = drawn(SHIFT), drawn(SHIFT)
    grid = functional.affine_grid(theta, list(films.shape), align_corners=False)
    moved = functional.grid_sample(films, grid, padding_mode="border", align_corners=False).clamp(0, 1)
    mirrored = torch.rand(count, generator=random) < 0.3
    moved[mirrored] = moved[mirrored].flip(-1)
    shape = (count, 1, 1, 1)
    exposed = moved.clamp_min(1e-4) ** torch.exp(drawn(GAMMA)).view(shape)
    exposed = 0.5 + (exposed - 0.5) * (1 + drawn(CONTRAST)).view(shape) + drawn(BRIGHTNESS).view(shape)
    soft = functional.avg_pool2d(functional.pad(exposed, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = (torch.rand(count, generator=random) * 0.6).view(shape) * (torch.rand(count, generator=random) < 0.5).view(
        shape
    )
    exposed = exposed * (1 - share) + soft * share
    level = torch.rand(count, generator=random).view(shape) * NOISE
    noisy = exposed + torch.randn(exposed.shape, generator=random) * level
    return noisy.clamp(0, 1)
