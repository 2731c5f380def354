"""Everything that a plugin imports: the contracts of plugins and the values that they exchange.

>>> from bench.interfaces import Attack, Budget, Card, Claim, Params, View

A name is imported when it is first used, so that listing plugins loads no torch.

Contracts (subclass one of them and name it in an entry point):

* ``Dataset`` gives private ``Records``.
* ``Victim`` trains a model on records in a split or federated way, and leaves a ``Capture``.
* ``Defense`` changes what a victim's client sends; ``Representation``, ``Guarantee``,
  ``TrainedPart`` and ``InsertedLayers`` describe how.
* ``Attack`` turns a ``View`` into a ``Claim``; ``ServerAdversary`` is a malicious server.
* ``Metric``, ``TextMetric``, ``AttributeMetric`` and ``IdentityMetric`` compare a claim with the
  truth.

Terms:

* record: one private image with its hint (``condition``), prompt, identity and attributes.
* channel: a quantity that crosses the wire, such as ``CONTROL_FEATURES``.
* release: the appearance of one record in one training step, ``Release``.
* transcript: every message that crossed the wire, ``Transcript``.
* capture: transcript, sealed secrets, trained model and costs of one training, ``Capture``.
* threat model: which channels and which knowledge an attacker has, ``ThreatModel``.
* view: what a threat model shows of a transcript, ``View``, with the public knowledge ``Public``.
* target: what is claimed of a record (``image``, ``condition``, ``prompt``, ...).
* claim: what an attack asserts about the target releases, ``Claim``.
* control: a claim made without an attack; the floor is chance, the ceiling the best possible claim.
* certificate: a score that an attack must reach where it is known to work, ``Certificate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.util.lazy import lazy_exports

if TYPE_CHECKING:
    from bench.interfaces.attack import Attack as Attack
    from bench.interfaces.attack import Budget as Budget
    from bench.interfaces.backbone import BackboneSet as BackboneSet
    from bench.interfaces.backbone import FeatureBackbone as FeatureBackbone
    from bench.interfaces.backbone import ImageBackbone as ImageBackbone
    from bench.interfaces.backbone import PerceptualBackbone as PerceptualBackbone
    from bench.interfaces.backbone import PromptBackbone as PromptBackbone
    from bench.interfaces.backbone import TextBackbone as TextBackbone
    from bench.interfaces.budget_axis import BudgetAxis as BudgetAxis
    from bench.interfaces.certificate import Certificate as Certificate
    from bench.interfaces.dataset import AUTO as AUTO
    from bench.interfaces.dataset import Dataset as Dataset
    from bench.interfaces.defense import CompositeDefense as CompositeDefense
    from bench.interfaces.defense import Defense as Defense
    from bench.interfaces.defense import Guarantee as Guarantee
    from bench.interfaces.defense import ProtectContext as ProtectContext
    from bench.interfaces.defense import Representation as Representation
    from bench.interfaces.defense import ServerAdapter as ServerAdapter
    from bench.interfaces.defense_statements import LossFeedback as LossFeedback
    from bench.interfaces.defense_statements import UpdateProtection as UpdateProtection
    from bench.interfaces.inserted_layers import InsertedLayers as InsertedLayers
    from bench.interfaces.metric import AttributeMetric as AttributeMetric
    from bench.interfaces.metric import IdentityMetric as IdentityMetric
    from bench.interfaces.metric import Metric as Metric
    from bench.interfaces.metric import ScoringContext as ScoringContext
    from bench.interfaces.metric import TextMetric as TextMetric
    from bench.interfaces.plugin import Card as Card
    from bench.interfaces.plugin import Params as Params
    from bench.interfaces.plugin import Plugin as Plugin
    from bench.interfaces.public import Codec as Codec
    from bench.interfaces.public import Denoiser as Denoiser
    from bench.interfaces.public import Emission as Emission
    from bench.interfaces.public import Public as Public
    from bench.interfaces.public import PublicClient as PublicClient
    from bench.interfaces.public import Simulator as Simulator
    from bench.interfaces.public_forward import CONDITION as CONDITION
    from bench.interfaces.public_forward import CONDITION_LATENTS as CONDITION_LATENTS
    from bench.interfaces.public_forward import NOISY as NOISY
    from bench.interfaces.public_forward import PIXELS as PIXELS
    from bench.interfaces.public_forward import TIMESTEPS as TIMESTEPS
    from bench.interfaces.public_forward import PublicForward as PublicForward
    from bench.interfaces.public_text import Prefix as Prefix
    from bench.interfaces.public_text import PublicText as PublicText
    from bench.interfaces.public_trainer import LocalTraining as LocalTraining
    from bench.interfaces.public_trainer import PublicTrainer as PublicTrainer
    from bench.interfaces.public_trainer import Unknown as Unknown
    from bench.interfaces.server_adversary import ServerAdversary as ServerAdversary
    from bench.interfaces.threat import ThreatModel as ThreatModel
    from bench.interfaces.threat import View as View
    from bench.interfaces.threat import preset as preset
    from bench.interfaces.trained_part import TrainedPart as TrainedPart
    from bench.interfaces.victim import TrainingPlan as TrainingPlan
    from bench.interfaces.victim import UtilityPlan as UtilityPlan
    from bench.interfaces.victim import Victim as Victim
    from bench.types.channels import CLIENT_UPDATE as CLIENT_UPDATE
    from bench.types.channels import CLIENT_WEIGHTS as CLIENT_WEIGHTS
    from bench.types.channels import CONTROL_FEATURES as CONTROL_FEATURES
    from bench.types.channels import DESCRIPTIONS as DESCRIPTIONS
    from bench.types.channels import GLOBAL_MODEL as GLOBAL_MODEL
    from bench.types.channels import GRADIENT_DOWN as GRADIENT_DOWN
    from bench.types.channels import LABEL as LABEL
    from bench.types.channels import LOSS_GRADIENT as LOSS_GRADIENT
    from bench.types.channels import NOISE_TARGET as NOISE_TARGET
    from bench.types.channels import POOLED_PROMPT as POOLED_PROMPT
    from bench.types.channels import PREDICTION_DOWN as PREDICTION_DOWN
    from bench.types.channels import PROMPT_EMBEDDING as PROMPT_EMBEDDING
    from bench.types.channels import TIMESTEP as TIMESTEP
    from bench.types.channels import UNET_FEATURES as UNET_FEATURES
    from bench.types.channels import Channel as Channel
    from bench.types.claim import Claim as Claim
    from bench.types.estimate import Estimate as Estimate
    from bench.types.facts import AttributeOdds as AttributeOdds
    from bench.types.facts import Fact as Fact
    from bench.types.facts import IdentityScores as IdentityScores
    from bench.types.gallery import Gallery as Gallery
    from bench.types.identities import group_numbers as group_numbers
    from bench.types.images import ImageBatch as ImageBatch
    from bench.types.links import Links as Links
    from bench.types.records import Records as Records
    from bench.types.schedule import NoiseSchedule as NoiseSchedule
    from bench.types.targets import ALL_TARGETS as ALL_TARGETS
    from bench.types.targets import ATTRIBUTE as ATTRIBUTE
    from bench.types.targets import IDENTITY as IDENTITY
    from bench.types.targets import LINK as LINK
    from bench.types.targets import PICTURE_TARGETS as PICTURE_TARGETS
    from bench.types.targets import PROMPT as PROMPT
    from bench.types.targets import TARGETS as TARGETS
    from bench.types.texts import Texts as Texts
    from bench.util.errors import BenchError as BenchError
    from bench.util.errors import DataError as DataError
    from bench.util.errors import NotApplicableError as NotApplicableError
    from bench.util.errors import NotGrantedError as NotGrantedError
    from bench.util.errors import RequestError as RequestError
    from bench.util.files import read_json as read_json
    from bench.util.files import sha256_file as sha256_file
    from bench.util.progress import Advance as Advance
    from bench.util.progress import Progress as Progress
    from bench.util.progress import Silent as Silent
    from bench.util.progress import Stage as Stage
    from bench.util.rng import derived_seed as derived_seed
    from bench.util.rng import generator as generator
    from bench.util.stats import mean_with_error as mean_with_error
    from bench.util.torchvision_guard import guard_torchvision as guard_torchvision
    from bench.wire.capture import COSTS_FILE as COSTS_FILE
    from bench.wire.capture import MODEL_DIR as MODEL_DIR
    from bench.wire.capture import SECRETS_DIR as SECRETS_DIR
    from bench.wire.capture import TRANSCRIPT_DIR as TRANSCRIPT_DIR
    from bench.wire.capture import Capture as Capture
    from bench.wire.capture import Costs as Costs
    from bench.wire.secrets import Secrets as Secrets
    from bench.wire.secrets import SecretsWriter as SecretsWriter
    from bench.wire.transcript import Direction as Direction
    from bench.wire.transcript import Message as Message
    from bench.wire.transcript import NamedTensors as NamedTensors
    from bench.wire.transcript import Release as Release
    from bench.wire.transcript import Transcript as Transcript
    from bench.wire.transcript import TranscriptWriter as TranscriptWriter
    from bench.wire.transcript import with_channel_prefix as with_channel_prefix

EXPORTS = {
    "ALL_TARGETS": "bench.types.targets",
    "ATTRIBUTE": "bench.types.targets",
    "AUTO": "bench.interfaces.dataset",
    "Advance": "bench.util.progress",
    "Attack": "bench.interfaces.attack",
    "AttributeMetric": "bench.interfaces.metric",
    "AttributeOdds": "bench.types.facts",
    "BackboneSet": "bench.interfaces.backbone",
    "BenchError": "bench.util.errors",
    "Budget": "bench.interfaces.attack",
    "BudgetAxis": "bench.interfaces.budget_axis",
    "CLIENT_UPDATE": "bench.types.channels",
    "CLIENT_WEIGHTS": "bench.types.channels",
    "CONDITION": "bench.interfaces.public_forward",
    "CONDITION_LATENTS": "bench.interfaces.public_forward",
    "CONTROL_FEATURES": "bench.types.channels",
    "COSTS_FILE": "bench.wire.capture",
    "Capture": "bench.wire.capture",
    "Card": "bench.interfaces.plugin",
    "Certificate": "bench.interfaces.certificate",
    "Channel": "bench.types.channels",
    "Claim": "bench.types.claim",
    "Codec": "bench.interfaces.public",
    "CompositeDefense": "bench.interfaces.defense",
    "Costs": "bench.wire.capture",
    "DESCRIPTIONS": "bench.types.channels",
    "DataError": "bench.util.errors",
    "Dataset": "bench.interfaces.dataset",
    "Defense": "bench.interfaces.defense",
    "Denoiser": "bench.interfaces.public",
    "Direction": "bench.wire.transcript",
    "Emission": "bench.interfaces.public",
    "Estimate": "bench.types.estimate",
    "Fact": "bench.types.facts",
    "FeatureBackbone": "bench.interfaces.backbone",
    "GLOBAL_MODEL": "bench.types.channels",
    "GRADIENT_DOWN": "bench.types.channels",
    "Gallery": "bench.types.gallery",
    "Guarantee": "bench.interfaces.defense",
    "IDENTITY": "bench.types.targets",
    "IdentityMetric": "bench.interfaces.metric",
    "IdentityScores": "bench.types.facts",
    "ImageBackbone": "bench.interfaces.backbone",
    "ImageBatch": "bench.types.images",
    "InsertedLayers": "bench.interfaces.inserted_layers",
    "LABEL": "bench.types.channels",
    "LINK": "bench.types.targets",
    "LOSS_GRADIENT": "bench.types.channels",
    "Links": "bench.types.links",
    "LocalTraining": "bench.interfaces.public_trainer",
    "LossFeedback": "bench.interfaces.defense_statements",
    "MODEL_DIR": "bench.wire.capture",
    "Message": "bench.wire.transcript",
    "Metric": "bench.interfaces.metric",
    "NOISE_TARGET": "bench.types.channels",
    "NOISY": "bench.interfaces.public_forward",
    "NamedTensors": "bench.wire.transcript",
    "NoiseSchedule": "bench.types.schedule",
    "NotApplicableError": "bench.util.errors",
    "NotGrantedError": "bench.util.errors",
    "PICTURE_TARGETS": "bench.types.targets",
    "PIXELS": "bench.interfaces.public_forward",
    "POOLED_PROMPT": "bench.types.channels",
    "PREDICTION_DOWN": "bench.types.channels",
    "PROMPT": "bench.types.targets",
    "PROMPT_EMBEDDING": "bench.types.channels",
    "Params": "bench.interfaces.plugin",
    "PerceptualBackbone": "bench.interfaces.backbone",
    "Plugin": "bench.interfaces.plugin",
    "Prefix": "bench.interfaces.public_text",
    "Progress": "bench.util.progress",
    "PromptBackbone": "bench.interfaces.backbone",
    "ProtectContext": "bench.interfaces.defense",
    "Public": "bench.interfaces.public",
    "PublicClient": "bench.interfaces.public",
    "PublicForward": "bench.interfaces.public_forward",
    "PublicText": "bench.interfaces.public_text",
    "PublicTrainer": "bench.interfaces.public_trainer",
    "Records": "bench.types.records",
    "Release": "bench.wire.transcript",
    "Representation": "bench.interfaces.defense",
    "RequestError": "bench.util.errors",
    "SECRETS_DIR": "bench.wire.capture",
    "ScoringContext": "bench.interfaces.metric",
    "Secrets": "bench.wire.secrets",
    "SecretsWriter": "bench.wire.secrets",
    "ServerAdapter": "bench.interfaces.defense",
    "ServerAdversary": "bench.interfaces.server_adversary",
    "Silent": "bench.util.progress",
    "Simulator": "bench.interfaces.public",
    "Stage": "bench.util.progress",
    "TARGETS": "bench.types.targets",
    "TIMESTEP": "bench.types.channels",
    "TIMESTEPS": "bench.interfaces.public_forward",
    "TRANSCRIPT_DIR": "bench.wire.capture",
    "TextBackbone": "bench.interfaces.backbone",
    "TextMetric": "bench.interfaces.metric",
    "Texts": "bench.types.texts",
    "ThreatModel": "bench.interfaces.threat",
    "TrainedPart": "bench.interfaces.trained_part",
    "TrainingPlan": "bench.interfaces.victim",
    "Transcript": "bench.wire.transcript",
    "TranscriptWriter": "bench.wire.transcript",
    "UNET_FEATURES": "bench.types.channels",
    "Unknown": "bench.interfaces.public_trainer",
    "UpdateProtection": "bench.interfaces.defense_statements",
    "UtilityPlan": "bench.interfaces.victim",
    "Victim": "bench.interfaces.victim",
    "View": "bench.interfaces.threat",
    "derived_seed": "bench.util.rng",
    "generator": "bench.util.rng",
    "group_numbers": "bench.types.identities",
    "guard_torchvision": "bench.util.torchvision_guard",
    "mean_with_error": "bench.util.stats",
    "preset": "bench.interfaces.threat",
    "read_json": "bench.util.files",
    "sha256_file": "bench.util.files",
    "with_channel_prefix": "bench.wire.transcript",
}
"""The module that defines each public name."""

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
