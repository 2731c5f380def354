"""Everything that a plugin may import: one room, one import.

>>> from bench.interfaces import Attack, Budget, Card, Claim, Params, View

A name is imported when it is asked for, so that the command line stays light.
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
    from bench.interfaces.public_forward import PublicForward as PublicForward
    from bench.interfaces.public_text import Prefix as Prefix
    from bench.interfaces.public_text import PublicText as PublicText
    from bench.interfaces.public_trainer import LocalTraining as LocalTraining
    from bench.interfaces.public_trainer import PublicTrainer as PublicTrainer
    from bench.interfaces.public_trainer import Unknown as Unknown
    from bench.interfaces.server_adversary import ServerAdversary as ServerAdversary
    from bench.interfaces.threat import ThreatModel as ThreatModel
    from bench.interfaces.threat import View as View
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
    from bench.types.images import ImageBatch as ImageBatch
    from bench.types.links import Links as Links
    from bench.types.records import Records as Records
    from bench.types.schedule import NoiseSchedule as NoiseSchedule
    from bench.types.targets import TARGETS as TARGETS
    from bench.types.texts import Texts as Texts
    from bench.util.errors import BenchError as BenchError
    from bench.util.errors import DataError as DataError
    from bench.util.errors import NotApplicableError as NotApplicableError
    from bench.util.errors import RequestError as RequestError
    from bench.util.progress import Advance as Advance
    from bench.util.progress import Progress as Progress
    from bench.util.progress import Silent as Silent
    from bench.util.rng import generator as generator
    from bench.wire.capture import COSTS_FILE as COSTS_FILE
    from bench.wire.capture import MODEL_DIR as MODEL_DIR
    from bench.wire.capture import SECRETS_DIR as SECRETS_DIR
    from bench.wire.capture import TRANSCRIPT_DIR as TRANSCRIPT_DIR
    from bench.wire.capture import Capture as Capture
    from bench.wire.capture import Costs as Costs
    from bench.wire.secrets import SecretsWriter as SecretsWriter
    from bench.wire.transcript import Release as Release
    from bench.wire.transcript import Transcript as Transcript
    from bench.wire.transcript import TranscriptWriter as TranscriptWriter

EXPORTS = {
    "Advance": "bench.util.progress",
    "Attack": "bench.interfaces.attack",
    "BackboneSet": "bench.interfaces.backbone",
    "BenchError": "bench.util.errors",
    "Budget": "bench.interfaces.attack",
    "CLIENT_UPDATE": "bench.types.channels",
    "CLIENT_WEIGHTS": "bench.types.channels",
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
    "BudgetAxis": "bench.interfaces.budget_axis",
    "Emission": "bench.interfaces.public",
    "Estimate": "bench.types.estimate",
    "Fact": "bench.types.facts",
    "FeatureBackbone": "bench.interfaces.backbone",
    "GLOBAL_MODEL": "bench.types.channels",
    "GRADIENT_DOWN": "bench.types.channels",
    "Gallery": "bench.types.gallery",
    "Guarantee": "bench.interfaces.defense",
    "ImageBackbone": "bench.interfaces.backbone",
    "ImageBatch": "bench.types.images",
    "InsertedLayers": "bench.interfaces.inserted_layers",
    "LABEL": "bench.types.channels",
    "LOSS_GRADIENT": "bench.types.channels",
    "AttributeMetric": "bench.interfaces.metric",
    "AttributeOdds": "bench.types.facts",
    "IdentityScores": "bench.types.facts",
    "IdentityMetric": "bench.interfaces.metric",
    "Links": "bench.types.links",
    "LocalTraining": "bench.interfaces.public_trainer",
    "LossFeedback": "bench.interfaces.defense_statements",
    "Metric": "bench.interfaces.metric",
    "MODEL_DIR": "bench.wire.capture",
    "NOISE_TARGET": "bench.types.channels",
    "NoiseSchedule": "bench.types.schedule",
    "NotApplicableError": "bench.util.errors",
    "POOLED_PROMPT": "bench.types.channels",
    "PREDICTION_DOWN": "bench.types.channels",
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
    "SecretsWriter": "bench.wire.secrets",
    "ServerAdapter": "bench.interfaces.defense",
    "ServerAdversary": "bench.interfaces.server_adversary",
    "Silent": "bench.util.progress",
    "Simulator": "bench.interfaces.public",
    "TARGETS": "bench.types.targets",
    "TIMESTEP": "bench.types.channels",
    "TRANSCRIPT_DIR": "bench.wire.capture",
    "TextBackbone": "bench.interfaces.backbone",
    "TextMetric": "bench.interfaces.metric",
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
    "Texts": "bench.types.texts",
    "generator": "bench.util.rng",
}
"""The module that defines each public name."""

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
