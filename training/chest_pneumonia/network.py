"""The network: three small residual networks of MONAI whose logits are averaged, on films brought to one brightness."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn

WIDTHS = (16, 32, 48, 64)
FEATURES = WIDTHS[-1]
FLOOR = 0.05
"""Least standard deviation that a film is divided by: what is flatter is no film."""


class Standardise(nn.Module):
    """Each film to mean 0 and standard deviation 1: exposure and windowing differ between rooms, and mean nothing."""

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, 28, 28) grey levels 0 to 1."""
        mean = image.mean(dim=(2, 3), keepdim=True)
        spread = (image - mean).square().mean(dim=(2, 3), keepdim=True).sqrt()
        return (image - mean) / spread.clamp_min(FLOOR)


class Member(nn.Module):
    """One of the networks."""

    def __init__(self) -> None:
        super().__init__()
        self.standardise = Standardise()
        self.trunk = ResNet(
            block="basic",
            layers=[1, 1, 1, 1],
            block_inplanes=list(WIDTHS),
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_size=5,
            conv1_t_stride=2,
            no_max_pool=True,
            feed_forward=False,
        )
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(FEATURES, 1)

    def features(self, image: Tensor) -> Tensor:
        """(n, `FEATURES`): what the trunk sees, averaged over the film."""
        return self.trunk(self.standardise(image))

    def forward(self, image: Tensor) -> Tensor:
        """(n,) logits."""
        return self.head(self.drop(self.features(image)))[:, 0]


class Shipped(nn.Module):
    """What is exported: probability, and how far the film lies from those that were learnt.

    Parameters
    ----------
    members
        Trained.
    slope, intercept
        Platt's: the logit is the mean logit times the one plus the other.
    centre, whitening, feature_limit
        Of the first member's features on training films: mean (f), matrix (f, f) that makes them white, and the
        distance that counts as 1.
    film, basis, residual_limit
        Mean standardised film (784), its principal components (k, 784), and the root mean square of what they leave
        that counts as 1.
    """

    def __init__(
        self,
        members: Sequence[Member],
        slope: float,
        intercept: float,
        centre: Tensor,
        whitening: Tensor,
        feature_limit: float,
        film: Tensor,
        basis: Tensor,
        residual_limit: float,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.slope, self.intercept = slope, intercept
        self.feature_limit, self.residual_limit = feature_limit, residual_limit
        self.register_buffer("centre", centre)
        self.register_buffer("whitening", whitening)
        self.register_buffer("film", film)
        self.register_buffer("basis", basis)

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, 28, 28) grey levels 0 to 1 to (n, 3, 1, 1): probability, feature distance, residual."""
        logits = torch.stack([member(image) for member in self.members]).mean(dim=0)
        probability = torch.sigmoid(self.slope * logits + self.intercept)
        features = torch.cat([member.features(image) for member in self.members], dim=1)
        white = (features - self.centre) @ self.whitening
        distance = white.square().mean(dim=1).sqrt() / self.feature_limit
        flat = self.members[0].standardise(image).flatten(1) - self.film
        rest = flat - (flat @ self.basis.T) @ self.basis
        residual = rest.square().mean(dim=1).sqrt() / self.residual_limit
        return torch.stack([probability, distance, residual], dim=1)[:, :, None, None]
