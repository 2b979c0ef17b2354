"""Train, calibrate and export the network of the bundle `chest_pneumonia`.

    python -m training.chest_pneumonia.train PNEUMONIAMNIST.npz [--out FOLDER] [--seed 7] [--epochs 30] [--members 3]

Nothing but the training images is learnt from. The validation images choose nothing but the two numbers of the
calibration (Platt 1999), and they are disturbed for that: on films like those that were learnt a network is surer, and
calls more films ill, than it may be on those of another room. The test images are never opened. On two cores it takes
about five minutes; equal seeds and versions give the same network.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics.rocauc import compute_roc_auc
from monai.utils import set_determinism
from torch import Tensor
from torch.nn import functional

from training.chest_pneumonia.augment import augmented
from training.chest_pneumonia.network import Member, Shipped

BATCH, STEPS_AN_EPOCH = 128, 31
RATE, WEIGHT_DECAY, AVERAGING, SMOOTHING = 2e-3, 5e-2, 0.99, 0.06
COMPONENTS, SHARE_KEPT, ALLOWANCE = 64, 0.995, 1.15
ROUNDS, PREVALENCE = 4, 0.625
"""How often the validation films are disturbed; and the share of films with pneumonia that probabilities are for."""
ROWS = 65
"""Films that the exported network takes at once: one, and 64 in which a part is hidden."""


def main() -> None:
    """Train, print what came of it, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="npz with train_images, train_labels, val_images, val_labels")
    parser.add_argument(
        "--out", type=Path, default=Path("chest_pneumonia"), help="folder for the ONNX file and figures"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--members", type=int, default=3)
    given = parser.parse_args()
    films = read(given.images)
    members = [train(*films["train"], given.seed + number, given.epochs) for number in range(given.members)]
    shipped, figures = finished(members, films, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "chest_pneumonia.onnx"
    export(shipped, path)
    figures |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size_bytes": path.stat().st_size}
    figures |= {"seed": given.seed, "epochs": given.epochs, "members": given.members}
    (given.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def read(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Films (n, 1, 28, 28), 0 to 1, and labels (n,), of `train` and of `val`."""
    with np.load(path, allow_pickle=False) as arrays:
        return {
            split: (
                torch.tensor(arrays[f"{split}_images"])[:, None].float() / 255,
                torch.tensor(arrays[f"{split}_labels"])[:, 0].float(),
            )
            for split in ("train", "val")
        }


def train(films: Tensor, labels: Tensor, seed: int, epochs: int) -> Member:
    """One member: the running average of its weights. Each batch holds as many films with pneumonia as without."""
    set_determinism(seed)
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(seed)
    member = Member()
    average = copy.deepcopy(member)
    groups = [torch.where(labels == label)[0] for label in (0, 1)]
    optimiser = torch.optim.AdamW(member.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * STEPS_AN_EPOCH)
    member.train()
    for _ in range(epochs * STEPS_AN_EPOCH):
        chosen = torch.cat([group[torch.randint(len(group), (BATCH // 2,), generator=random)] for group in groups])
        aims = labels[chosen] * (1 - SMOOTHING) + SMOOTHING / 2
        loss = functional.binary_cross_entropy_with_logits(member(augmented(films[chosen], random)), aims)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        _follow(average, member)
    return average.eval()


def _follow(average: Member, member: Member) -> None:
    with torch.no_grad():
        for kept, now in zip(average.state_dict().values(), member.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.mul_(AVERAGING).add_(now, alpha=1 - AVERAGING)
            else:
                kept.copy_(now)


@torch.no_grad()
def finished(
    members: list[Member], films: dict[str, tuple[Tensor, Tensor]], seed: int
) -> tuple[Shipped, dict[str, Any]]:
    """What is shipped, and what can be said of it."""
    seen, labels = films["val"]

    def ask(pictures: Tensor) -> Tensor:
        return torch.stack([member(pictures) for member in members]).mean(dim=0)

    logits = ask(seen)
    slope, intercept, disturbed = calibrated(ask, seen, labels, seed)
    centre, whitening, feature_limit = _features(members, films["train"][0])
    film, basis, residual_limit = _appearance(members[0], films["train"][0])
    shipped = Shipped(members, slope, intercept, centre, whitening, feature_limit, film, basis, residual_limit).eval()
    answers = shipped(seen)
    refused = (answers[:, 1:, 0, 0] > 1).any(dim=1)
    figures = {
        "parameters": sum(item.numel() for member in members for item in member.parameters()),
        "validation_auc": float(compute_roc_auc(logits[:, None], labels[:, None])),
        "validation_auc_of_members": [
            float(compute_roc_auc(member(seen)[:, None], labels[:, None])) for member in members
        ],
        "validation_ece": _ece(torch.sigmoid(slope * logits + intercept), labels),
        **disturbed,
        "validation_refused": int(refused.sum()),
        "validation_films": len(seen),
        "prevalence_of_calibration": PREVALENCE,
        "slope": slope,
        "intercept": intercept,
    }
    return shipped, figures


@torch.no_grad()
def calibrated(
    ask: Callable[[Tensor], Tensor], films: Tensor, labels: Tensor, seed: int
) -> tuple[float, float, dict[str, float]]:
    """Slope and intercept of the calibration, and figures of the films that it was made with.

    Parameters
    ----------
    ask
        (n, 1, 28, 28) to (n,) logits.
    films, labels
        Of the validation. The calibration sees each film `ROUNDS` times as it is, disturbed as in training, and twice as
        much; the figures are of the disturbed ones.
    seed
        Of the disturbances.
    """
    random = torch.Generator().manual_seed(seed)
    once = [augmented(films, random) for _ in range(ROUNDS)]
    twice = [augmented(augmented(films, random), random) for _ in range(ROUNDS)]
    logits = torch.cat([ask(pictures) for pictures in (*once, *twice)])
    truth = labels.repeat(2 * ROUNDS)
    slope, intercept = platt(torch.cat([ask(films).repeat(ROUNDS), logits]), labels.repeat(3 * ROUNDS))
    positive = slope * logits + intercept >= 0
    return (
        slope,
        intercept,
        {
            "disturbed_auc": float(compute_roc_auc(logits[:, None], truth[:, None])),
            "disturbed_sensitivity": float(positive[truth == 1].float().mean()),
            "disturbed_specificity": float((~positive[truth == 0]).float().mean()),
        },
    )


@torch.enable_grad()
def platt(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Slope and intercept that make logits log odds at `PREVALENCE`; targets as Platt softened them."""
    logits, labels = logits.detach().double(), labels.double()
    positive, negative = float(labels.sum()), float((1 - labels).sum())
    aims = torch.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    share = positive / (positive + negative)
    weights = torch.where(labels == 1, PREVALENCE / share, (1 - PREVALENCE) / (1 - share))
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(line[0] * logits + line[1], aims, weight=weights)
        loss.backward()
        return loss

    search.step(closure)
    return float(line[0].detach()), float(line[1].detach())


def _ece(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Expected calibration error over bins of equal numbers of films."""
    order = torch.argsort(probabilities)
    groups = torch.chunk(order, bins)
    gaps = [abs(float(probabilities[group].mean() - labels[group].mean())) * len(group) for group in groups]
    return sum(gaps) / len(order)


def _features(members: list[Member], films: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and whitening of the training films' features, and the distance that counts as 1."""
    features = torch.cat([member.features(films) for member in members], dim=1)
    centre = features.mean(dim=0)
    spread = torch.cov((features - centre).T)
    spread += torch.eye(len(spread)) * 0.02 * spread.diagonal().mean()
    values, vectors = torch.linalg.eigh(spread)
    whitening = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    distance = ((features - centre) @ whitening).square().mean(dim=1).sqrt()
    return centre, whitening, float(torch.quantile(distance, SHARE_KEPT)) * ALLOWANCE


def _appearance(member: Member, films: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean film, principal components, and the root mean square of what they leave that counts as 1."""
    flat = member.standardise(films).flatten(1)
    film = flat.mean(dim=0)
    _, _, vectors = torch.linalg.svd(flat - film, full_matrices=False)
    basis = vectors[:COMPONENTS]
    rest = (flat - film) - ((flat - film) @ basis.T) @ basis
    return film, basis, float(torch.quantile(rest.square().mean(dim=1).sqrt(), SHARE_KEPT)) * ALLOWANCE


def export(shipped: torch.nn.Module, path: Path, rows: int = ROWS) -> None:
    """Write ONNX of so many films at once, without a trace of when and where it was made."""
    import onnx

    torch.onnx.export(
        shipped,
        (torch.zeros(rows, 1, 28, 28),),
        str(path),
        input_names=["image"],
        output_names=["answer"],
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.doc_string = ""
    model.producer_name, model.producer_version, model.doc_string = "bithive", "1.0.0", ""
    path.write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
