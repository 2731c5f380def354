"""What mixing and shuffling defences did to smashed data is undone, on known answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.common.undo.keyed_mixing import key_of_features, key_of_latents, unmix_channels
from attacks.common.undo.patch_shuffle import Habits, by_borders, by_overlap, by_target, cut, put
from bench.interfaces import CONTROL_FEATURES, UNET_FEATURES, NotApplicableError, generator
from defenses.keyed_mixing import mix, secret_matrix
from tests.attacks.wire.test_closed_form import attack_scores


def stem(channels: int, *, bias: bool = True, padding: int = 1) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(channels)
        return nn.Conv2d(4, channels, 3, padding=padding, bias=bias)


def smooth(count: int, size: int, seed: int) -> torch.Tensor:
    """Latents with little at high frequencies, as pictures have."""
    coarse = torch.randn(count, 4, 4, 4, generator=generator(seed))
    return nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True)


@pytest.mark.parametrize("group", [2, 4, 8])
@pytest.mark.parametrize("channels", [16, 64])
def test_the_key_is_read_off_one_release_by_the_public_stem_alone(channels, group):
    conv, key = stem(channels), secret_matrix(7, UNET_FEATURES, group)
    features = mix(conv(torch.randn(1, 4, 8, 8, generator=generator(1))).detach(), key)
    found, told = key_of_features(conv, features, group)
    assert told
    torch.testing.assert_close(found.float(), key, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        mix(unmix_channels(features, found), key), features, atol=1e-4, rtol=0
    )


def test_noise_on_the_features_leaves_the_key_nearly_as_sharp():
    conv, key = stem(64), secret_matrix(3, UNET_FEATURES, 4)
    features = mix(conv(torch.randn(2, 4, 16, 16, generator=generator(1))).detach(), key)
    noisy = features + 0.2 * torch.randn(features.shape, generator=generator(2))
    found, _ = key_of_features(conv, noisy, 4)
    assert float((found.float() - key).abs().max()) < 0.05


def test_without_a_bias_the_sign_of_the_key_is_not_told():
    conv, key = stem(16, bias=False), secret_matrix(3, UNET_FEATURES, 4)
    found, told = key_of_features(conv, mix(conv(torch.randn(1, 4, 8, 8)).detach(), key), 4)
    assert not told
    assert min(float((sign * found.float() - key).abs().max()) for sign in (1, -1)) < 1e-4


def test_no_key_where_every_key_would_do():
    conv = stem(4)
    with pytest.raises(NotApplicableError, match="do not outnumber"):
        key_of_features(conv, torch.randn(1, 4, 8, 8, generator=generator(0)), 2)
    with pytest.raises(NotApplicableError, match="not the answer of a convolution"):
        key_of_features(nn.Identity(), torch.randn(1, 4, 8, 8), 2)


def test_the_key_of_a_sum_is_found_from_the_known_part():
    """h_ctrl = K (x_t + z_c) with x_t known."""
    key = secret_matrix(5, CONTROL_FEATURES, 4)
    noisy = torch.randn(8, 4, 16, 16, generator=generator(1)) + smooth(8, 16, 2)
    found = key_of_latents(mix(noisy + smooth(8, 16, 3), key), noisy, 4)
    assert float((found.float() - key).abs().max()) < 0.02


def shuffled(maps: torch.Tensor, side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps with squares out of order, and the places that put them back."""
    count = (maps.shape[-1] // side) * (maps.shape[-2] // side)
    orders = torch.stack(
        [torch.randperm(count, generator=generator(seed, str(i))) for i in range(len(maps))]
    )
    return put(maps, orders, side), orders.argsort(1)


@pytest.mark.parametrize(("channels", "side"), [(16, 4), (64, 4), (64, 2)])
def test_the_order_of_squares_is_exact_by_what_their_answers_see_of_each_other(channels, side):
    conv = stem(channels)
    features = conv(torch.randn(3, 4, 16, 16, generator=generator(4))).detach()
    moved, places = shuffled(features, side, 1)
    found = by_overlap(conv, moved, side)
    assert torch.equal(found, places)
    assert torch.equal(put(moved, found, side), features)


def test_some_noise_on_the_features_does_not_change_the_order_found():
    conv = stem(64)
    features = conv(torch.randn(2, 4, 16, 16, generator=generator(4))).detach()
    moved, places = shuffled(
        features + 0.1 * torch.randn(features.shape, generator=generator(5)), 4, 1
    )
    assert torch.equal(by_overlap(conv, moved, 4), places)


def test_squares_too_small_to_show_their_rim_are_refused():
    with pytest.raises(NotApplicableError, match="too few numbers"):
        by_overlap(stem(8), torch.zeros(1, 8, 8, 8), 1)


def test_a_target_in_order_gives_the_order_of_the_latent():
    noise = torch.randn(3, 4, 16, 16, generator=generator(6))
    moved, places = shuffled(0.6 * smooth(3, 16, 7) + 0.8 * noise, 4, 2)
    assert torch.equal(by_target(moved, noise, 4), places)


def test_clean_squares_go_together_by_their_borders():
    latents, known = smooth(4, 16, 8), smooth(64, 16, 9)
    moved, places = shuffled(latents, 4, 3)
    found = by_borders(moved, known, 4)
    assert float((found == places).float().mean()) > 0.9
    assert Habits.from_latents(known, 4).mean.shape == (16, 4 * 16)


def test_squares_are_cut_and_put_back():
    maps = torch.arange(2 * 3 * 4 * 4).float().view(2, 3, 4, 4)
    assert torch.equal(cut(maps, 2)[1, 1], maps[1, :, :2, 2:])
    same = torch.arange(4).expand(2, 4)
    assert torch.equal(put(maps, same, 2), maps)


@pytest.mark.slow
@pytest.mark.parametrize(
    "defense",
    [
        "keyed-mixing",
        "keyed-mixing:where=unet",
        "keyed-mixing:where=control",
        "published+keyed-mixing",
        "keyed-mixing+activation",
        "patch-shuffle",
        "patch-shuffle:target=false",
        "published+patch-shuffle",
        "keyed-mixing+patch-shuffle",
        "patch-shuffle+keyed-mixing",
    ],
)
def test_the_closed_form_is_as_good_as_undefended(defense, make_job, tmp_path):
    scores = attack_scores(make_job(attack="closed-form", defense=defense), tmp_path)
    assert scores["image"]["latent_nmse"].mean < 1e-4
    assert scores["condition"]["latent_nmse"].mean < (0.05 if "keyed" in defense else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "defense",
    ["send-latent+keyed-mixing", "timestep:t_min=600+send-latent+patch-shuffle:target=false"],
)
def test_a_latent_sent_as_it_is_falls_by_its_noise_target(defense, make_job, tmp_path):
    scores = attack_scores(make_job(attack="closed-form", defense=defense), tmp_path)
    assert scores["image"]["latent_nmse"].mean < 0.2


@pytest.mark.parametrize("defense", ["send-latent+keyed-mixing", "send-latent+patch-shuffle"])
def test_a_latent_sent_as_it_is_shows_nothing_without_its_noise_target(defense, make_job, tmp_path):
    job = make_job(attack="closed-form", defense=defense, withhold=("noise_target",))
    with pytest.raises(NotApplicableError):
        attack_scores(job, tmp_path)
