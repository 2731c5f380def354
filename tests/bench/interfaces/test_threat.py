"""Threat models and the view that they make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from bench.interfaces import (
    CLIENT_WEIGHTS,
    DESCRIPTIONS,
    NOISE_TARGET,
    TIMESTEP,
    UNET_FEATURES,
    Channel,
    NoiseSchedule,
    Public,
    Records,
    Release,
    RequestError,
    ThreatModel,
    Transcript,
    TranscriptWriter,
    View,
)
from bench.interfaces.threat import PRESETS, preset
from bench.util.errors import NotGrantedError

SENT = frozenset({UNET_FEATURES, TIMESTEP, NOISE_TARGET, CLIENT_WEIGHTS})


@pytest.fixture
def transcript(tmp_path: Path) -> Transcript:
    """Two epochs of two steps, then weights; row r of step s holds 10 s + r in every channel."""
    writer = TranscriptWriter(tmp_path / "wire", victim="v", protocol="p")
    ends: dict[str, Any] = {"direction": "up", "sender": "client", "receiver": "server"}
    for step in range(4):
        rows = 3 if step % 2 == 0 else 2
        values = torch.arange(rows) + 10 * step
        tensors = {
            UNET_FEATURES: values.float().view(rows, 1),
            TIMESTEP: values,
            NOISE_TARGET: -values.float(),
        }
        writer.send(tensors, step=step, epoch=step // 2, rows=rows, **ends)
    writer.send({f"{CLIENT_WEIGHTS}/bias": torch.ones(2)}, step=4, epoch=1, rows=0, **ends)
    return writer.close()


@pytest.fixture
def public(records: Records) -> Public:
    return Public(
        client=None,
        codec=None,  # type: ignore[arg-type]
        schedule=NoiseSchedule.stable_diffusion(),
        stem=None,
        defense=None,
        protocol="p",
        auxiliary=records,
        device="cpu",
    )


def view(
    transcript: Transcript,
    public: Public,
    threat: ThreatModel | None = None,
    *,
    history: bool = False,
) -> View:
    return (threat or ThreatModel()).project(
        transcript, public, [Release(1, 3, 1), Release(1, 2, 0)], history=history
    )


def test_presets_have_their_own_names_and_known_channels() -> None:
    for name, model in PRESETS.items():
        assert preset(name) is model
        assert model.name == name
        assert set(model.grants or ()) <= set(DESCRIPTIONS)
        assert model.withhold == ()
    assert preset("server") == ThreatModel()
    assert preset("released_model").granted(SENT) == frozenset()
    assert preset("server").granted(SENT) == SENT


def test_presets_that_differ_in_name_hide_what_their_name_says() -> None:
    assert set(preset("plato_pp").grants or ()) - set(preset("pp_hidden_eps").grants or ()) == {
        NOISE_TARGET
    }
    assert set(preset("pp_hidden_eps").grants or ()) - set(
        preset("pp_hidden_eps_t").grants or ()
    ) == {TIMESTEP}


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(
        RequestError, match=re.escape("unknown threat model 'serfer'; did you mean 'server'?")
    ):
        preset("serfer")


def test_threat_models_are_frozen_and_refuse_nonsense() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        preset("server").linkable = True  # type: ignore[misc]
    for bad in ({"auxiliary": -1}, {"queries": -1}, {"role": "wizard"}, {"sees": ("timestep",)}):
        with pytest.raises(ValidationError):
            ThreatModel(**bad)  # type: ignore[arg-type]


def test_grants_and_withholding_subtract() -> None:
    assert ThreatModel(grants=(TIMESTEP, "prompt_embedding")).granted(SENT) == {TIMESTEP}
    assert ThreatModel(withhold=(NOISE_TARGET,)).granted(SENT) == SENT - {NOISE_TARGET}
    assert ThreatModel(grants=(TIMESTEP,), withhold=(TIMESTEP,)).granted(SENT) == frozenset()


def test_withholding_what_is_not_sent_is_refused_with_a_suggestion() -> None:
    with pytest.raises(RequestError, match="cannot withhold 'noise_targets'") as caught:
        ThreatModel(withhold=("noise_targets",)).granted(SENT)
    assert "did you mean 'noise_target'?" in str(caught.value)
    with pytest.raises(RequestError, match="this protocol does not send it"):
        ThreatModel(withhold=("gradient_down",)).granted(SENT)


def test_targets_are_read_in_their_order(transcript: Transcript, public: Public) -> None:
    made = view(transcript, public)
    assert made.read(TIMESTEP).tolist() == [31, 20]
    assert made.read(UNET_FEATURES).tolist() == [[31.0], [20.0]]
    assert made.batch_sizes() == [2, 3]
    assert made.read(TIMESTEP, every=True).tolist() == [31, 20], (
        "without history the view holds the targets alone"
    )


def test_history_brings_every_release_and_keeps_the_targets(
    transcript: Transcript, public: Public
) -> None:
    made = view(transcript, public, history=True)
    assert made.read(TIMESTEP).tolist() == [31, 20]
    assert made.read(TIMESTEP, every=True).tolist() == [0, 1, 2, 10, 11, 20, 21, 22, 30, 31]
    assert [made.releases[i] for i in made.targets] == [Release(1, 3, 1), Release(1, 2, 0)]
    assert made.batch_sizes() == [2, 3]


def test_what_is_read_is_recorded_and_nothing_else(transcript: Transcript, public: Public) -> None:
    made = view(transcript, public)
    assert made.channels_read == frozenset()
    assert made.has(NOISE_TARGET)
    assert made.channels_read == frozenset(), "asking is not reading"
    made.read(TIMESTEP)
    made.parts(CLIENT_WEIGHTS)
    assert made.channels_read == {TIMESTEP, CLIENT_WEIGHTS}


def test_reading_what_is_not_granted_raises_and_is_not_recorded(
    transcript: Transcript, public: Public
) -> None:
    made = view(transcript, public, ThreatModel(withhold=(NOISE_TARGET, CLIENT_WEIGHTS)))
    assert not made.has(NOISE_TARGET)
    with pytest.raises(
        NotGrantedError,
        match="'noise_target' is not granted; this view holds timestep, unet_features",
    ):
        made.read(NOISE_TARGET)
    with pytest.raises(NotGrantedError, match="client_weights"):
        made.parts(CLIENT_WEIGHTS)
    with pytest.raises(NotGrantedError, match="no_such_channel"):
        made.read(Channel("no_such_channel"))
    assert made.channels_read == frozenset()


def test_an_empty_view_says_so(transcript: Transcript, public: Public) -> None:
    with pytest.raises(NotGrantedError, match="this view holds nothing"):
        view(transcript, public, preset("released_model")).read(TIMESTEP)


def test_a_channel_read_the_wrong_way_says_how(transcript: Transcript, public: Public) -> None:
    made = view(transcript, public)
    with pytest.raises(NotGrantedError, match=re.escape("read it with parts()")):
        made.read(CLIENT_WEIGHTS)
    with pytest.raises(NotGrantedError, match=re.escape("read it with read()")):
        made.parts(TIMESTEP)


def test_what_an_attack_scribbles_on_is_its_own_copy(
    transcript: Transcript, public: Public
) -> None:
    made = view(transcript, public)
    made.read(TIMESTEP).zero_()
    made.read(TIMESTEP, every=True).zero_()
    made.parts(CLIENT_WEIGHTS)[0].tensors["bias"].zero_()
    assert made.read(TIMESTEP).tolist() == [31, 20]
    assert made.parts(CLIENT_WEIGHTS)[0].tensors["bias"].tolist() == [1.0, 1.0]


def test_an_attacker_without_weights_has_neither_client_nor_stem(public: Public) -> None:
    import dataclasses

    knowing = dataclasses.replace(public, stem=torch.nn.Conv2d(4, 4, 1))
    assert knowing.without_weights().stem is None
    assert knowing.without_weights().client is None
    assert knowing.without_weights().auxiliary is knowing.auxiliary
