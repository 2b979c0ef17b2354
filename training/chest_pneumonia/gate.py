"""Train and export the second network of `chest_pneumonia`: whether a picture is a frontal chest film as it is read.

    python -m training.chest_pneumonia.gate PNEUMONIAMNIST.npz [--out FOLDER] [--seed 7] [--steps 900]

It learns real films against what is none, all of it made here: films turned, upside down, inverted, cut up or enlarged,
noise of several grains, gradients, and drawn scenes and bodies (outlier exposure, Hendrycks and others, ICLR 2019). No
photograph, no ultrasound, CT or MR is among them: what it says of those, it says of things it never saw. The limit is
the one that a share `KEPT` of the validation films passes, which were not learnt from, less `ALLOWANCE` log odds: films
of another room are less like those than these are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.utils import set_determinism
from torch import Tensor, nn
from torch.nn import functional

from training.chest_pneumonia.augment import augmented
from training.chest_pneumonia.network import Standardise
from training.chest_pneumonia.train import export, read

BATCH, RATE, WEIGHT_DECAY, WIDTHS = 128, 2e-3, 1e-2, (16, 32, 64)
KEPT, ALLOWANCE = 0.997, 1.0
SIDE = 28


class Gate(nn.Module):
    """Above 0: like a frontal chest film. The limit that was found is part of it."""

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 1
        for width in WIDTHS:
            layers += [Convolution(2, channels, width, strides=2), Convolution(2, width, width)]
            channels = width
        self.standardise, self.trunk = Standardise(), nn.Sequential(*layers)
        self.head = nn.Linear(channels * 16, 1)
        self.register_buffer("limit", torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, 28, 28) grey levels 0 to 1 to (n, 1, 1, 1): log odds above the limit."""
        found = self.head(self.trunk(self.standardise(image)).flatten(1)) - self.limit
        return found[:, :, None, None]


def outliers(films: Tensor, random: torch.Generator) -> Tensor:
    """As many pictures that are no frontal chest film as there are films, one kind after the other."""
    made = [_KINDS[number % len(_KINDS)](film[None], random) for number, film in enumerate(films)]
    return torch.cat(made).clamp(0, 1)


def _inverted(film: Tensor, _random: torch.Generator) -> Tensor:
    return 1 - film


def _upside_down(film: Tensor, _random: torch.Generator) -> Tensor:
    return film.flip(-2)


def _turned(film: Tensor, random: torch.Generator) -> Tensor:
    return film.rot90(1 + 2 * int(torch.randint(2, (1,), generator=random)), (-2, -1))


def _shuffled(film: Tensor, random: torch.Generator) -> Tensor:
    """Its quarters in another order: none stays where it was."""
    quarters = [film[..., y : y + 14, x : x + 14] for y in (0, 14) for x in (0, 14)]
    by = 1 + int(torch.randint(3, (1,), generator=random))
    a, b, c, d = (quarters[(number + by) % 4] for number in range(4))
    return torch.cat([torch.cat([a, b], -1), torch.cat([c, d], -1)], -2)


def _part(film: Tensor, random: torch.Generator) -> Tensor:
    """A third to a half of it, enlarged."""
    side = int(torch.randint(9, 15, (1,), generator=random))
    y, x = (int(torch.randint(SIDE - side + 1, (1,), generator=random)) for _ in range(2))
    part = film[..., y : y + side, x : x + side]
    return functional.interpolate(part, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def _noise(_film: Tensor, random: torch.Generator) -> Tensor:
    """From white to coarse: amplitude falls with the frequency to a power of 0 to 2.5."""
    frequency = torch.fft.fftfreq(SIDE)
    radius = torch.hypot(frequency[:, None], frequency[None])
    radius[0, 0] = 1.0
    power = 2.5 * float(torch.rand(1, generator=random))
    field = torch.fft.ifft2(torch.fft.fft2(torch.randn(SIDE, SIDE, generator=random)) / radius**power).real
    return ((field - field.min()) / (field.max() - field.min()))[None, None]


def _drawn(count: int, random: torch.Generator) -> list[float]:
    return (torch.rand(count, generator=random)).tolist()


def _shapes(random: torch.Generator, ground: Tensor, count: int, least: float, most: float, where: float) -> Tensor:
    """Ellipses and boxes of any grey on a ground; radii and distance from the centre as shares of half the side."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 56), torch.linspace(-1, 1, 56), indexing="ij")
    for _ in range(count):
        cy, cx, first, second, angle, grey, kind = _drawn(7, random)
        turn = torch.tensor(angle * 3.1416)
        dy, dx = y - (2 * cy - 1) * where, x - (2 * cx - 1) * where
        u, v = dy * turn.cos() + dx * turn.sin(), dx * turn.cos() - dy * turn.sin()
        u, v = u / (least + first * (most - least)), v / (least + second * (most - least))
        inside = (u**2 + v**2 < 1) if kind < 0.6 else (u.abs() < 1) & (v.abs() < 1)
        ground = torch.where(inside, torch.tensor(grey), ground)
    return functional.avg_pool2d(ground[None, None], 2)


def _scene(_film: Tensor, random: torch.Generator) -> Tensor:
    """A bright or shaded ground with things before it, as a photograph has."""
    top, bottom, left, count, _ = _drawn(5, random)
    ground = torch.linspace(top, bottom, 56)[:, None] + torch.linspace(-left / 2, left / 2, 56)[None]
    return _shapes(random, ground.clamp(0, 1), 1 + int(count * 10), 0.05, 0.9, 1.0)


def _body(_film: Tensor, random: torch.Generator) -> Tensor:
    """An oval with things in it on black: a slice, a phantom, an ultrasound sector."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 56), torch.linspace(-1, 1, 56), indexing="ij")
    high, wide, grey, rim, count = _drawn(5, random)
    radius = (y / (0.45 + high / 2)) ** 2 + (x / (0.45 + wide / 2)) ** 2
    ground = torch.where(radius < 1, torch.tensor(0.2 + 0.6 * grey), torch.tensor(0.02))
    if rim < 0.5:
        ground = torch.where((radius < 1) & (radius > 0.75), torch.tensor(1.0), ground)
    speckle = 1 + 0.25 * torch.randn(56, 56, generator=random)
    return _shapes(random, ground * speckle, int(count * 6), 0.05, 0.4, 0.6)


def _limb(_film: Tensor, random: torch.Generator) -> Tensor:
    """Grey bars with a bright core on black: an arm, a leg, fingers."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    ground = torch.full((SIDE, SIDE), 0.05)
    count, lean, width, _ = _drawn(4, random)
    for place in torch.linspace(-0.7, 0.7, 1 + int(count * 5)).tolist():
        across = (x - place - (lean - 0.5) * y * (1 + place)).abs()
        ground = torch.where(across < 0.08 + 0.25 * width, torch.tensor(0.5), ground)
        ground = torch.where(across < 0.04 + 0.12 * width, torch.tensor(0.85), ground)
    return ground[None, None] if lean < 0.7 else ground[None, None].rot90(1, (-2, -1))


_KINDS = (_inverted, _upside_down, _turned, _shuffled, _part, _noise, _scene, _body, _upside_down, _limb, _scene, _body)


def train(films: Tensor, seed: int, steps: int) -> Gate:
    """A gate whose limit is not set yet."""
    set_determinism(seed)
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(seed)
    gate = Gate()
    optimiser = torch.optim.AdamW(gate.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    gate.train()
    for _ in range(steps):
        real, other = (films[torch.randint(len(films), (BATCH // 2,), generator=random)] for _ in range(2))
        shown = torch.cat([augmented(real, random), augmented(outliers(other, random), random)])
        aims = torch.cat([torch.ones(len(real)), torch.zeros(len(other))])
        loss = functional.binary_cross_entropy_with_logits(gate(shown)[:, 0, 0, 0], aims)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return gate.eval()


@torch.no_grad()
def limited(gate: Gate, films: dict[str, tuple[Tensor, Tensor]], seed: int) -> dict[str, Any]:
    """Set the limit, and say what passes it."""
    gate.limit.fill_(float(torch.quantile(gate(films["val"][0]).flatten(), 1 - KEPT)) - ALLOWANCE)
    random = torch.Generator().manual_seed(seed)
    made = {
        kind.__name__.strip("_"): torch.cat([kind(film[None], random) for film in films["val"][0][:300]]).clamp(0, 1)
        for kind in dict.fromkeys(_KINDS)
    }
    return {
        "films_refused": {split: float((gate(seen) < 0).float().mean()) for split, (seen, _) in films.items()},
        "made_refused": {kind: float((gate(pictures) < 0).float().mean()) for kind, pictures in made.items()},
    }


def main() -> None:
    """Train, set the limit, export, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="npz with train_images, train_labels, val_images, val_labels")
    parser.add_argument("--out", type=Path, default=Path("chest_pneumonia"), help="folder for ONNX file and figures")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=900)
    given = parser.parse_args()
    films = read(given.images)
    gate = train(films["train"][0], given.seed, given.steps)
    figures = limited(gate, films, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "chest_film.onnx"
    export(gate, path, 1)
    figures |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size_bytes": path.stat().st_size}
    (given.out / "film.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
