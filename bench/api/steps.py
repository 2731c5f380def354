"""One cell by hand: a trained victim, a view of what it sent, an attack on the view, the scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas

from bench.api.catalogue import build
from bench.api.progress import progress_of
from bench.api.rows import PathText
from bench.api.settings import checked_settings
from bench.cell.attacker import Attacker
from bench.cell.attempt import Attempt, check_applicable, make_claim
from bench.cell.job import Job
from bench.cell.judge import Judge
from bench.cell.runner import Runner
from bench.cell.scores import score_claim
from bench.cell.targets import choose_targets, update_groups
from bench.interfaces.attack import Attack, Budget
from bench.interfaces.threat import ThreatModel, View, preset
from bench.planning.planner import Planner
from bench.planning.request import Request
from bench.scoring.claim_check import check_claim
from bench.types.claim import Claim
from bench.types.facts import IdentityScores
from bench.types.targets import IDENTITY
from bench.util.errors import BenchError, RequestError
from bench.util.global_random import GlobalRandom
from bench.util.rng import generator
from bench.wire.capture import Capture
from bench.wire.transcript import Release

_PLANNED_ATTACK = "closed-form"
"""Stands for the attack where a victim is planned before one is chosen; it shapes no capture."""


@dataclass(frozen=True, eq=False, repr=False)
class TrainedVictim:
    """A victim that was trained, all that it sent, and what is needed to judge an attack on it.

    Attributes:
        capture: transcript, sealed secrets, trained model and costs, as files.
        job: the victim, its data and its settings; attacks never see it.
        targets: the releases that an attack has to claim, sorted.
        path: the results directory that keeps the capture.
    """

    capture: Capture
    job: Job
    targets: tuple[Release, ...]
    path: Path

    def __repr__(self) -> str:
        cell = self.job.cell.capture
        defense = "+".join(part.label for part in cell.defense)
        return (
            f"TrainedVictim({cell.victim.label}, {cell.protocol}, {defense}, seed {cell.seed}, "
            f"{len(self.targets)} targets)"
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """What crossed the wire, sorted."""
        return tuple(sorted(self.capture.transcript.channels()))


def capture(
    *,
    victim: str = "split-controlnet",
    protocol: str | None = None,
    defense: str = "none",
    seed: int = 0,
    adversary: str | None = None,
    results: PathText = "results",
    fresh: bool = False,
    progress: bool = False,
    **settings: Any,
) -> TrainedVictim:
    """Train a victim under a defence, or open what an equal call has trained before.

    Args:
        victim: as ``name`` or ``name:key=value,…``.
        protocol: who computes what; the victim's first by default.
        defense: as ``name`` or ``name:key=value,…``; ``+`` stacks defences.
        seed: of training and of the choice of targets.
        adversary: an attack that replaces the server while the victim trains, such as ``hijack``;
            by default the server is honest.
        results: the results directory that keeps captures.
        fresh: train even where the capture is kept.
        progress: show the stages of the work.
        settings: the other options of ``bench run``: ``records``, ``epochs``, ``data``, ``model``,
            ``targets`` (how many records an attack claims), ``epoch`` (of the wire) and so on.

    Raises:
        RequestError: a name, a parameter or a setting is unknown or impossible, or victim, protocol
            and defence do not fit together.
        DataError: data or model cannot be used.

    Example:
        >>> trained = bench.capture(defense="timestep", records=64, epochs=2)  # doctest: +SKIP
        >>> trained.channels  # doctest: +SKIP
        ('control_features', 'noise_target', 'prompt_embedding', 'timestep', 'unet_features')
    """
    request = Request(
        victim=victim,
        protocol=protocol,
        defense=defense,
        attack=adversary or _PLANNED_ATTACK,
        threat="malicious_server" if adversary else "server",
        seed=seed,
        settings=checked_settings(settings),
    )
    job = _planner().plan(request)
    if adversary and not job.attack.malicious:
        raise RequestError(f"attack {adversary!r} is no server; leave adversary out")
    path = Path(results)
    trained, _ = Runner(path, progress_of(progress)).capture(job, fresh=fresh)
    return TrainedVictim(trained, job, tuple(choose_targets(trained.transcript, job)), path)


def view(
    capture: TrainedVictim,
    *,
    threat: str | ThreatModel = "server",
    withhold: str | Iterable[str] = (),
    attack: str | Attack | None = None,
) -> View:
    """Return what an attack may read under a threat model; nothing else of the capture.

    The view is made by ``ThreatModel.project``: it holds the granted channels of the transcript and
    public knowledge, and leads neither to the secrets nor to the victim.

    Args:
        capture: what :func:`bench.capture` returned.
        threat: the name of a threat model, or one of your own.
        withhold: channels that the attacker does not see although they are sent.
        attack: the attack that will read the view. Only some need to be named here: those that read
            the releases of every epoch, and those that look for people in a gallery.

    Raises:
        RequestError: the threat model or the attack is unknown, or a withheld channel is not sent.

    Example:
        >>> bench.view(trained, withhold=["noise_target"]).channels  # doctest: +SKIP
    """
    model = preset(threat) if isinstance(threat, str) else threat
    hidden = [withhold] if isinstance(withhold, str) else list(withhold)
    names = {name.strip() for text in hidden for name in text.split(",") if name.strip()}
    model = model.model_copy(update={"withhold": tuple(sorted({*model.withhold, *names}))})
    job = replace(capture.job, cell=capture.job.cell.model_copy(update={"threat": model}))
    if attack is not None:
        job = replace(job, attack=_attack(attack))
    return Attacker.from_job(job).view(capture.capture.transcript, capture.targets)


def attack(
    attack: str | Attack,
    view: View,
    *,
    iterations: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Claim:
    """Run an attack on a view, and return its claim once it is checked.

    A claim is equal to the claim of the row of ``bench run`` with the same seed.

    Args:
        attack: as ``name`` or ``name:key=value,…``, or an object of your own class.
        view: what :func:`bench.view` returned.
        iterations: the attack's budget; its default where None.
        batch_size: records that the attack works on at a time; its default where None.
        seed: of the attack's randomness.
        progress: show the stages of the work.

    Raises:
        RequestError: the attack or a parameter is unknown.
        NotApplicableError: the attack needs a channel that is not in the view.
        BenchError: the claim does not fit the view, or the attack changed what it received.

    Example:
        >>> claim = bench.attack("closed-form", bench.view(trained))  # doctest: +SKIP
        >>> claim.estimates["image"].images.pixels.shape  # doctest: +SKIP
        torch.Size([64, 3, 64, 64])
    """
    chosen = _attack(attack)
    if chosen.malicious and view.threat.behaviour != "malicious":
        raise RequestError(
            f"{chosen.name} needs a malicious server: use bench.capture(adversary={chosen.name!r}) "
            "and bench.view(threat='malicious_server')"
        )
    check_applicable(chosen, view)
    usual = chosen.default_budget
    budget = Budget(
        iterations=usual.iterations if iterations is None else iterations,
        batch_size=usual.batch_size if batch_size is None else batch_size,
    )
    with GlobalRandom(seed, "attack", chosen.name, device=view.public.device).active():
        return make_claim(
            chosen,
            view,
            rng=generator(seed, "attack", chosen.name),
            budget=budget,
            image_size=int(view.public.auxiliary.images.shape[-1]),
            progress=progress_of(progress),
        )


def score(
    claim: Claim, capture: TrainedVictim, *, records: bool = False, progress: bool = False
) -> pandas.DataFrame:
    """Unseal the truth and compare a claim with it, between its controls.

    Args:
        claim: what :func:`bench.attack` returned, or a claim made by hand for the targets.
        capture: what the claim is about.
        records: return every record's score instead of their means.
        progress: show the stages of the work.

    Returns:
        One row for each target and metric: the mean ``value`` with its 95 % interval ``low`` to
        ``high``; ``floor``, the best control that saw nothing; ``ceiling``, what the victim's own
        autoencoder or tokenizer keeps of the truth; ``normalized``, 0 at the floor and 1 at the
        ceiling; ``n`` records; ``backbone`` where a metric uses one. With ``records``: ``target``,
        ``metric``, ``record`` and ``value``, as :func:`bench.load_scores` gives them.

    Raises:
        BenchError: the claim does not fit the targets, or cannot be scored.

    Example:
        >>> table = bench.score(claim, trained)  # doctest: +SKIP
        >>> table[["target", "metric", "value", "floor", "ceiling"]]  # doctest: +SKIP
    """
    job, targets = capture.job, list(capture.targets)
    releases = _releases(claim, capture)
    size = job.cell.capture.data.image_size
    check_claim("claim", claim, targets=len(targets), releases=len(releases), image_size=size)
    people = claim.estimates.get(IDENTITY)
    candidates = people.likeness.shape[1] if isinstance(people, IdentityScores) else 0
    gallery = job.new_gallery(candidates) if candidates else None
    sent = frozenset(capture.capture.transcript.channels())
    attempt = Attempt(
        status="ok",
        granted=sent,
        releases=releases,
        targets=tuple(releases.index(target) for target in targets),
        groups=update_groups(capture.capture.transcript, targets),
        candidates=0 if gallery is None else len(gallery.names),
        claim=claim,
    )
    scores = score_claim(
        job, capture.capture, targets, attempt, Judge.from_job(job, gallery), progress_of(progress)
    )
    ids = [name.partition(":")[2] for name in capture.capture.secrets.truth(targets)[0].ids]
    lines: list[dict[str, Any]] = []
    for target, scored in scores.targets.items():
        for one in scored.metrics:
            head = {"target": target, "metric": one.metric}
            if records:
                values = one.values.tolist()
                lines += [
                    {**head, "record": name, "value": value}
                    for name, value in zip(ids, values, strict=True)
                ]
                continue
            lines.append(
                {
                    **head,
                    "value": one.mean,
                    "low": one.low,
                    "high": one.high,
                    "floor": one.floor,
                    "ceiling": one.ceiling,
                    "normalized": one.normalized,
                    "n": len(one.values),
                    "backbone": one.backbone or "",
                }
            )
    if not lines:
        raise BenchError("no metric applies to what is claimed: " + ", ".join(claim.estimates))
    return pandas.DataFrame(lines)


@lru_cache(maxsize=1)
def _planner() -> Planner:
    """Return the planner of this process, which loads each data set once."""
    return Planner(progress_of(False))


def _attack(attack: str | Attack) -> Attack:
    """Return an attack, built from its text where it is one.

    Raises:
        RequestError: the name or a parameter is unknown, or the object is no attack.
    """
    if isinstance(attack, str):
        return build("attacks", attack)
    if not isinstance(attack, Attack):
        raise RequestError(f"an attack is a name or an object of its class, not {attack!r}")
    return attack


def _releases(claim: Claim, capture: TrainedVictim) -> tuple[Release, ...]:
    """Return the releases of the view that a claim was made on: all where it links them all."""
    if claim.links is None or len(claim.links.labels) == len(capture.targets):
        return capture.targets
    return tuple(capture.capture.transcript.releases())
