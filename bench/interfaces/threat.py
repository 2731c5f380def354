"""Threat models, and views: which part of the transcript an attacker may read."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.types.channels import (
    CLIENT_UPDATE,
    CLIENT_WEIGHTS,
    CONTROL_FEATURES,
    GLOBAL_MODEL,
    GRADIENT_DOWN,
    NOISE_TARGET,
    POOLED_PROMPT,
    PROMPT_EMBEDDING,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
)
from bench.util.errors import NotGrantedError, RequestError
from bench.util.text import suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from bench.interfaces.public import Public
    from bench.wire.transcript import NamedTensors, Release, Transcript


class ThreatModel(BaseModel):
    """An attacker's role, the channels in sight and prior knowledge.

    The defaults are those of the honest-but-curious server.

    Attributes:
        name: the name in the row.
        role: the position of the attacker.
        behaviour: whether the attacker follows the protocol.
        grants: channels in sight; None is every channel on the wire.
        withhold: channels removed from sight, a hypothetical restriction: the wire still carries
            them.
        weights_known: whether the attacker knows the public weights of the client half.
        defense_known: whether the attacker knows the defence and its parameters (Kerckhoffs),
            except its randomness.
        auxiliary: the largest number of auxiliary records; None is all there are.
        linkable: whether the attacker may know which releases are of one record.
        queries: how often the attacker may query the victim's client; 0 is never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "server"
    role: Literal["server", "eavesdropper", "client", "third-party"] = "server"
    behaviour: Literal["honest-but-curious", "malicious"] = "honest-but-curious"
    grants: tuple[str, ...] | None = None
    withhold: tuple[str, ...] = ()
    weights_known: bool = True
    defense_known: bool = True
    auxiliary: int | None = Field(default=None, ge=0)
    linkable: bool = False
    queries: int = Field(default=0, ge=0)

    def granted(self, sent: frozenset[Channel]) -> frozenset[Channel]:
        """Return the channels in sight among those sent.

        Raises:
            RequestError: a withheld channel is not on this wire.
        """
        for channel in self.withhold:
            if channel not in sent:
                raise RequestError(
                    f"threat model {self.name!r}: cannot withhold {channel!r}, "
                    "this protocol does not send it" + suggestion(channel, sent)
                )
        in_sight = sent if self.grants is None else sent & {Channel(c) for c in self.grants}
        return in_sight - {Channel(c) for c in self.withhold}

    def project(
        self,
        transcript: Transcript,
        public: Public,
        targets: Sequence[Release],
        *,
        history: bool = False,
    ) -> View:
        """Return the view of one attack: the granted part of the transcript, and public knowledge.

        Args:
            transcript: everything that crossed the wire.
            public: what the attacker knows besides the wire.
            targets: the releases to be claimed.
            history: whether the view holds the releases of every epoch, or the targets alone.
        """
        granted = self.granted(transcript.channels())
        releases = tuple(transcript.releases()) if history else tuple(targets)
        rows = {
            c: transcript.rows(c, releases) for c in sorted(granted) if transcript.is_row_channel(c)
        }
        steps = frozenset(release.step for release in releases)
        parts = {
            c: transcript.parts(c, steps)
            for c in sorted(granted)
            if not transcript.is_row_channel(c)
        }
        position = {release: i for i, release in enumerate(releases)}
        return View(
            granted=granted,
            rows=rows,
            parts=parts,
            releases=releases,
            targets=tuple(position[t] for t in targets),
            batch_sizes=tuple(transcript.batch_size(r) for r in releases),
            public=public,
            threat=self,
        )


class View:
    """What one attack may read; only ``ThreatModel.project`` makes views.

    Attributes:
        public: knowledge that did not cross the wire.
        threat: the assumptions that an attack must keep to, such as ``linkable`` and ``queries``.
        channels: the channels that may be read.
        releases: every release in the view, R of them.
        targets: positions in ``releases`` of the releases to be claimed, N of them.
        worked_out_channels: channels whose rows an attack has put in place of those that were sent.
    """

    def __init__(
        self,
        *,
        granted: frozenset[Channel],
        rows: Mapping[Channel, Tensor],
        parts: Mapping[Channel, Sequence[NamedTensors]],
        releases: tuple[Release, ...],
        targets: tuple[int, ...],
        batch_sizes: tuple[int, ...],
        public: Public,
        threat: ThreatModel,
    ) -> None:
        self.public = public
        self.threat = threat
        self.channels = granted
        self.releases = releases
        self.targets = targets
        self._rows = MappingProxyType(dict(rows))
        self._parts = MappingProxyType(dict(parts))
        self._batch_sizes = batch_sizes
        self._read: set[Channel] = set()
        self.worked_out_channels: frozenset[Channel] = frozenset()

    @property
    def channels_read(self) -> frozenset[Channel]:
        """The channels that were read so far, for the row."""
        return frozenset(self._read)

    def has(self, channel: Channel) -> bool:
        """Return whether ``channel`` may be read."""
        return channel in self.channels

    def read(self, channel: Channel, *, every: bool = False) -> Tensor:
        """Return a channel of the target releases, ``(N, ...)``, one row per release.

        Args:
            channel: a channel whose tensors have one row per record.
            every: return the rows of every release in the view, ``(R, ...)``.

        Raises:
            NotGrantedError: the threat model does not grant the channel, or it was not sent.
        """
        self._note(channel)
        if channel not in self._rows:
            raise NotGrantedError(
                f"channel {channel!r} is not sent record by record; read it with parts()"
            )
        rows = self._rows[channel]
        return rows.clone() if every else rows[list(self.targets)]

    def parts(self, channel: Channel) -> list[NamedTensors]:
        """Return the messages of a channel that carries named tensors, such as weights, in order.

        Of updates, only those are returned that releases in the view went into; their ``step`` is
        that of the releases.

        Raises:
            NotGrantedError: the threat model does not grant the channel, or it was not sent.
        """
        self._note(channel)
        if channel not in self._parts:
            raise NotGrantedError(
                f"channel {channel!r} is sent record by record; read it with read()"
            )
        return [
            replace(
                message, tensors={name: tensor.clone() for name, tensor in message.tensors.items()}
            )
            for message in self._parts[channel]
        ]

    def with_channels(self, rows: Mapping[Channel, Tensor], lost: Collection[Channel] = ()) -> View:
        """Return a copy of the view with channels that an attack has reconstructed.

        Channels that are read from the copy are noted in this view too.

        Args:
            rows: by channel, one row for every release in the view, in place of what was sent.
            lost: channels that are no longer readable.
        """
        found = copy.copy(self)
        found._rows = MappingProxyType({**self._rows, **rows})
        found.channels = self.channels - frozenset(lost)
        found.worked_out_channels = self.worked_out_channels | frozenset(rows)
        return found

    def batch_sizes(self, *, every: bool = False) -> list[int]:
        """Return how many records shared the step of each target release.

        Args:
            every: return one number for every release in the view.
        """
        return list(self._batch_sizes) if every else [self._batch_sizes[i] for i in self.targets]

    def _note(self, channel: Channel) -> None:
        if channel not in self.channels:
            raise NotGrantedError(
                f"channel {channel!r} is not granted; this view holds "
                f"{', '.join(sorted(self.channels)) or 'nothing'}"
            )
        self._read.add(channel)


_FEATURES = (CONTROL_FEATURES, UNET_FEATURES)
# Both embed the same prompt and cross the wire in one message.
_PROMPT = (PROMPT_EMBEDDING, POOLED_PROMPT)
_PUBLISHED = (*_FEATURES, TIMESTEP, NOISE_TARGET, *_PROMPT)

PRESETS: Mapping[str, ThreatModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            ThreatModel(),
            ThreatModel(name="malicious_server", behaviour="malicious"),
            ThreatModel(name="eavesdropper", role="eavesdropper"),
            ThreatModel(name="plato_baseline", grants=(*_PUBLISHED, GRADIENT_DOWN, CLIENT_WEIGHTS)),
            ThreatModel(name="plato_pp", grants=(*_FEATURES, TIMESTEP, NOISE_TARGET)),
            ThreatModel(name="pp_hidden_eps", grants=(*_FEATURES, TIMESTEP)),
            ThreatModel(name="pp_hidden_eps_t", grants=_FEATURES),
            ThreatModel(name="features_only", role="eavesdropper", grants=_FEATURES),
            ThreatModel(name="collafuse", grants=(UNET_FEATURES, *_PROMPT)),
            ThreatModel(name="fedavg", grants=(CLIENT_UPDATE, GLOBAL_MODEL)),
            ThreatModel(name="released_model", role="third-party", grants=()),
        )
    }
)


def preset(name: str) -> ThreatModel:
    """Return a named threat model.

    Raises:
        RequestError: the name is unknown; the message gives the nearest known one.
    """
    if name not in PRESETS:
        raise RequestError(f"unknown threat model {name!r}{suggestion(name, PRESETS)}")
    return PRESETS[name]
