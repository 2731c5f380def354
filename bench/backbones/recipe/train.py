"""Trains the embedded backbone.

Run it by ``python -m bench.backbones.recipe.train --out DIR``.

Four losses share the image tower. Photos and their prompts attract each other (CLIP, Radford et al.
2021, arXiv:2103.00020), and so do photos of one person (supervised contrastive learning, Khosla et
al. 2020, arXiv:2004.11362). The attribute heads learn the labels, and the identity embedding must
give the person's colours and proportions by a linear map that is discarded afterwards. All losses
see distorted photos, because attacks recover distorted pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from bench.backbones.portrait_attributes import labels, traits
from bench.backbones.recipe.distort import augment, spoil
from bench.backbones.towers import EMBEDDING, FEATURES, Towers, tokens
from bench.data.portraits.dataset import Portraits
from bench.types.records import Records
from bench.util.errors import RequestError
from bench.util.progress import Progress, terminal_progress
from bench.util.rng import generator

FIRST_IDENTITY = 2_000_000
HELD_OUT_IDENTITY = 2_500_000
TEMPERATURE = 0.1
FITTED = 2048
"""Photos to which the distribution features are fitted."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights.

    Attributes:
        steps: optimizer steps.
        first: number of the first person; people for training lie between 2,000,000 and 2,499,999.
        identities: people in the training set.
        photos: photos of each person.
        people: people in a batch, with two photos each.
        learning_rate: peak learning rate of AdamW; linear warm-up, then cosine decay to zero.
        distorted: share of the photos that each distortion changes.
        seed: seed of initial weights, batches and distortions.
        start: sha256 of the weights from which the training continues; empty for random ones.
    """

    steps: int = 2500
    first: int = FIRST_IDENTITY
    identities: int = 5000
    photos: int = 4
    people: int = 64
    learning_rate: float = 1.5e-3
    distorted: float = 0.4
    seed: int = 0
    start: str = ""


def photos(first: int, identities: int, per_identity: int, progress: Progress) -> Records:
    """Return training or held-out photos; identities follow one another."""
    source = Portraits(Portraits.Params(start=first, photos_per_identity=per_identity))
    return source.load(
        identities * per_identity, image_size=64, condition="canny", progress=progress
    )


def identity_loss(embedded: Tensor, people: Tensor) -> Tensor:
    """Return the supervised contrastive loss of embeddings.

    Args:
        embedded: unit-length embeddings, ``(N, D)``.
        people: number of the person in each photo, ``(N,)``.
    """
    logits = embedded @ embedded.T / TEMPERATURE
    itself = torch.eye(len(people), dtype=torch.bool)
    logits = logits.masked_fill(itself, -torch.inf)
    positive = (people[:, None] == people[None]) & ~itself
    likelihood = functional.log_softmax(logits, dim=1).masked_fill(~positive, 0.0)
    return -(likelihood.sum(dim=1) / positive.sum(dim=1)).mean()


def prompt_loss(pictured: Tensor, written: Tensor, words: Tensor, scale: Tensor) -> Tensor:
    """Return the contrastive loss of images and prompts ``(N, D)``; equal prompts count as one."""
    logits = pictured @ written.T * scale.clamp(max=math.log(100.0)).exp()
    same = (words[:, None] == words[None]).all(dim=2).float()
    target = same / same.sum(dim=1, keepdim=True)
    forth = functional.cross_entropy(logits, target)
    return 0.5 * (forth + functional.cross_entropy(logits.T, target))


def attribute_loss(logits: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Return the mean cross entropy over the attributes of ``labels`` ``(N, A)``."""
    each = [functional.cross_entropy(part, labels[:, i]) for i, part in enumerate(logits)]
    return torch.stack(each).mean()


def fit_features(towers: Towers, images: Tensor, rng: torch.Generator) -> None:
    """Set the projection to the principal components of standardised channel statistics.

    Clean and distorted photos both count, so that the components also span distortions. Each
    component is divided by the root of its deviation, or a few would dominate every distance.
    """
    with torch.no_grad():
        clean, wild = (
            torch.cat(
                [
                    towers.moments(towers.image.maps(change(part)))
                    for part in torch.split(images, 128)
                ]
            ).double()
            for change in (lambda pixels: pixels, lambda pixels: spoil(pixels, rng))
        )
    mean, deviation = torch.cat([clean, wild]).mean(dim=0), clean.std(dim=0).clamp_min(1e-6)
    table = (torch.cat([clean, wild]) - mean) / deviation
    _, values, components = torch.linalg.svd(table, full_matrices=False)
    basis = components[:FEATURES]
    # A singular vector's sign is arbitrary; fix it so that a training repeats to the last bit.
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    basis = basis * largest.sign() / (values[:FEATURES, None] / len(table) ** 0.5).sqrt()
    towers.feature_mean.copy_(mean)
    towers.feature_basis.copy_((basis / deviation).T)


def train(
    recipe: Recipe, out: Path, *, minutes: float, progress: Progress, start: Path | None = None
) -> Path:
    """Train, and write ``embedded.safetensors`` (float16) and ``losses.jsonl`` to ``out``.

    Args:
        recipe: everything that determines the weights.
        out: directory of the files.
        start: weights of an earlier training to continue from; ``recipe.start`` becomes their hash.
        minutes: time limit, which the log reports if it is reached. Time is no part of the recipe,
            so a stopped run cannot be repeated.
        progress: where long work reports how far it is.

    Returns:
        The file of the weights.

    Raises:
        RequestError: fewer people than a batch needs, or fewer photos than distribution features.
    """
    from safetensors.torch import load_file, save_file

    if (
        recipe.identities < recipe.people
        or recipe.identities * recipe.photos < FEATURES
        or recipe.photos < 2
    ):
        raise RequestError(
            f"backbone: {recipe.identities} people with {recipe.photos} photos each are too few"
        )
    out.mkdir(parents=True, exist_ok=True)
    if start is not None:
        recipe = replace(recipe, start=hashlib.sha256(start.read_bytes()).hexdigest())
    records = photos(recipe.first, recipe.identities, recipe.photos, progress)
    images = records.image_batch().pixels
    words = tokens(records.prompts)
    classes = labels(records.attributes)
    wanted = traits(recipe.first, recipe.identities, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        towers = Towers()
        reader = torch.nn.Linear(EMBEDDING, wanted.shape[1])
    if start is not None:
        towers.load_state_dict({name: tensor.float() for name, tensor in load_file(start).items()})
    weights = [*towers.parameters(), *reader.parameters()]
    rng = generator(recipe.seed, "embedded backbone")
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.05)
    warm_up = min(100, recipe.steps // 10 + 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(
            (step + 1) / warm_up, 0.5 * (1.0 + math.cos(math.pi * step / recipe.steps))
        ),
    )
    began, done = time.monotonic(), 0
    with (
        (out / "losses.jsonl").open("w", encoding="utf-8") as log,
        progress.stage("backbone", recipe.steps) as advance,
    ):
        log.write(json.dumps({"recipe": asdict(recipe), "data": records.pixel_hash()}) + "\n")
        while done < recipe.steps and time.monotonic() - began < 60.0 * minutes:
            people = torch.randperm(recipe.identities, generator=rng)[
                : recipe.people
            ].repeat_interleave(2)
            shots = (
                torch.rand((recipe.people, recipe.photos), generator=rng)
                .argsort(dim=1)[:, :2]
                .flatten()
            )
            row = people * recipe.photos + shots
            pixels = augment(images[row], rng, recipe.distorted)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                last = towers.image.maps(pixels)[-1]
                person, hidden = towers.image.person(last), towers.image.hidden(last)
                pictured, logits = towers.image.pictured(hidden), towers.image.attributes(hidden)
            # Single precision is faster than bfloat16 on layers this small.
            written = towers.text(words[row])
            losses = {
                "identity": identity_loss(functional.normalize(person, dim=1), people),
                "prompt": prompt_loss(pictured, written, words[row], towers.scale),
                "attributes": attribute_loss(logits, classes[row]),
                "traits": functional.mse_loss(reader(person), wanted[people]),
            }
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            if done % 20 == 0 or done == recipe.steps - 1:
                values = {"step": done} | {name: value.item() for name, value in losses.items()}
                log.write(
                    json.dumps(values | {"seconds": round(time.monotonic() - began, 1)}) + "\n"
                )
                log.flush()
            done += 1
            advance(1)
        log.write(json.dumps({"steps": done, "complete": done == recipe.steps}) + "\n")
    towers.half().float().eval()  # fit to the weights as they are stored
    fit_features(towers, images[:FITTED], generator(recipe.seed, "distribution features"))
    target = out / "embedded.safetensors"
    state = {
        name: tensor.detach().half().contiguous() for name, tensor in towers.state_dict().items()
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    recipe_and_data = asdict(recipe) | {"data": records.pixel_hash()}
    save_file(state, target, metadata={"recipe": json.dumps(recipe_and_data, sort_keys=True)})
    return target


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.backbones.recipe.train", description=__doc__
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for embedded.safetensors and losses.jsonl"
    )
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--identities", type=int, default=Recipe.identities)
    parser.add_argument(
        "--first", type=int, default=Recipe.first, help="number of the first person"
    )
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument(
        "--distorted",
        type=float,
        default=Recipe.distorted,
        help="share of photos that each distortion hits",
    )
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--start", type=Path, help="weights of an earlier training to go on from")
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="give up on the remaining steps after this long",
    )
    chosen = parser.parse_args()
    recipe = Recipe(
        steps=chosen.steps,
        first=chosen.first,
        identities=chosen.identities,
        learning_rate=chosen.learning_rate,
        distorted=chosen.distorted,
        seed=chosen.seed,
    )
    print(
        train(
            recipe,
            chosen.out,
            minutes=chosen.minutes,
            progress=terminal_progress(),
            start=chosen.start,
        )
    )


if __name__ == "__main__":
    main()
