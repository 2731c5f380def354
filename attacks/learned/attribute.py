"""Attribute inference: what a record shows, without reconstructing it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from attacks.common.attack_run import AttackRun
from attacks.common.augmentation import with_mirrored
from attacks.common.via_picture import ViaPicture, picture
from attacks.learned.parts.fact_network import FactParams, FactTask, train_fact_network
from attacks.learned.parts.simulated_releases import simulated_releases
from bench.backbones.attribute_reader import AttributeReader, learnable_attributes
from bench.interfaces import (
    AttributeOdds,
    Budget,
    BudgetAxis,
    Card,
    Certificate,
    Claim,
    NotApplicableError,
    Progress,
    View,
)
from bench.types.targets import ATTRIBUTE

LEAST = 1e-3
"""Smallest odds that are believed, since the backbone is overconfident on unfamiliar pictures."""


class AttributeInference(ViaPicture):
    """Classifies releases by every attribute at once with a network trained on simulated releases.

    The simulated releases are of labelled auxiliary records. The network is conditioned on t and
    learns the latents together with the labels. Its output is added, as logits, to the output of
    the public backbone for the picture that the network estimates. With ``through`` the attributes
    are read off the picture that another attack makes.
    """

    name = "attribute"
    Params = FactParams
    claimed_targets = (ATTRIBUTE,)
    default_budget = Budget(iterations=400, batch_size=16)
    budget_axis = BudgetAxis("iterations", (25, 50, 100, 200, 400, 800))
    # Undefended, half of this budget reaches 0.85 with 128 auxiliary records; the threshold leaves
    # room for other data and seeds.
    certificates = (
        Certificate("split-controlnet", "no-gradient", ATTRIBUTE, "attribute_accuracy", 0.6),
    )
    card = Card(
        summary=(
            "Infers attributes such as glasses or hair colour from smashed data, or from a "
            "reconstruction."
        ),
        source=("attribute inference on split features; FiLM, arXiv:1709.07871; this project"),
        needs=(
            "auxiliary records with attribute labels; control_features or unet_features and the "
            "public client weights, or what the attack named by through needs"
        ),
        cost=(
            "its training: iterations x batch size releases of the simulated client; or the cost "
            "of the other attack"
        ),
        notes=(
            "An attribute with a different value for every identity is a name and is left out. The "
            "ceiling reads attributes off the true picture with the heads of the embedded "
            "backbone, which were trained on many more portraits than there are auxiliary records. "
            "On other data both learn from the auxiliary pictures."
        ),
    )

    def run(self, view: View, *, rng: torch.Generator, budget: Budget, progress: Progress) -> Claim:
        values = learnable_attributes(view.public.auxiliary)
        if not values:
            raise NotApplicableError(
                "the auxiliary records carry no attribute that two identities share"
            )
        if self.through is None:
            return self._directly(view, values, AttackRun.on_view(view, rng, budget, progress))
        images = picture(self.through, view, rng, budget, progress)
        return Claim({ATTRIBUTE: AttributeReader(values, view.public.auxiliary).read(images)})

    def _directly(self, view: View, values: dict[str, tuple[str, ...]], run: AttackRun) -> Claim:
        """Return the claim of a network that reads the releases themselves."""
        records = (
            with_mirrored(view.public.auxiliary) if self.params.mirror else view.public.auxiliary
        )
        releases = simulated_releases(view, records, "granted")
        device, widths = run.device, [len(v) for v in values.values()]
        truth = torch.stack(
            [
                odds.argmax(1)
                for odds in AttributeOdds.one_hot(records.attributes, values).odds.values()
            ],
            1,
        )
        truth = truth.to(device)

        def loss(facts: Tensor, index: Tensor) -> Tensor:
            parts = zip(torch.split(facts, widths, 1), truth[index.to(device)].T, strict=True)
            return torch.stack(
                [functional.cross_entropy(logits, true) for logits, true in parts]
            ).mean()

        reader, codec = AttributeReader(values, view.public.auxiliary), view.public.codec

        def picture_logits(latents: Tensor) -> Tensor:
            odds = reader.read(codec.decode(latents)).odds
            side_by_side = torch.cat([odds[name] for name in values], 1).float()
            return side_by_side.clamp_min(LEAST).log().to(device)

        task = FactTask(
            len(records), sum(widths), loss, picture_logits if self.params.backbone else None
        )
        network, diagnostics = train_fact_network(releases, task, self.params, run)
        with torch.no_grad():
            facts = network(releases.inputs_of(view))[0].cpu()
        odds = [logits.softmax(1) for logits in torch.split(facts, widths, 1)]
        return Claim(
            {ATTRIBUTE: AttributeOdds(values, dict(zip(values, odds, strict=True)))}, diagnostics
        )
