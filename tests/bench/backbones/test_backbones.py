"""Backbones: the shipped one behaves, a user's files are checked before they are believed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from bench.backbones import external_backbones
from bench.backbones.embedded_backbone import (
    EmbeddedBackbone,
    embedded_set,
    load_embedded,
    read_embedded,
)
from bench.backbones.external_backbones import FILES, WeightFile, fidelity_installed, read_checked
from bench.backbones.portrait_attributes import CLASSES, labels
from bench.backbones.recipe.distort import DISTORTIONS, augment
from bench.backbones.recipe.train import HELD_OUT_IDENTITY, Recipe, photos, train
from bench.backbones.selection import load_backbones
from bench.backbones.towers import Towers, tokens
from bench.interfaces import (
    BenchError,
    DataError,
    FeatureBackbone,
    ImageBackbone,
    ImageBatch,
    PerceptualBackbone,
    PromptBackbone,
    Records,
    RequestError,
    Silent,
    generator,
)
from bench.interfaces.backbone import EMBEDDED
from bench.metrics.identification import ranks

HARDLY_READ = {"eyes", "earrings"}  # too small at 64 pixels, as the card says
LEAST_IDENTIFIED = 0.85
"""Share for one gallery, which varies by 0.03; the mean of five galleries is 0.9 (``figures``)."""


@pytest.fixture(scope="module")
def backbone() -> EmbeddedBackbone:
    return load_embedded()


@pytest.fixture(scope="module")
def images() -> ImageBatch:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(6, 3, 8, 8, generator=rng)
    return ImageBatch(torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1))


def test_one_object_fills_all_four_roles(backbone: EmbeddedBackbone) -> None:
    for role in (ImageBackbone, FeatureBackbone, PerceptualBackbone, PromptBackbone):
        assert isinstance(backbone, role)
    assert backbone.name == EMBEDDED == "embedded-v2"
    assert embedded_set(backbone).identity is backbone


def test_embeddings_are_unit_length_and_repeat(
    backbone: EmbeddedBackbone, images: ImageBatch
) -> None:
    for vectors in (
        backbone.embed(images),
        backbone.prompt_embed(images),
        backbone.text_embed(("a", "", "b c")),
    ):
        assert vectors.norm(dim=1).tolist() == pytest.approx([1.0] * len(vectors), abs=1e-5)
    assert torch.equal(backbone.embed(images), backbone.embed(images))
    assert backbone.features(images).shape == (6, backbone.dim)


def test_no_record_sees_another(backbone: EmbeddedBackbone, images: ImageBatch) -> None:
    first = images.take([0])
    other = images.take([3])
    assert torch.allclose(backbone.embed(images)[:1], backbone.embed(first), atol=1e-5)
    assert torch.allclose(backbone.features(images)[:1], backbone.features(first), atol=1e-3)
    assert torch.allclose(
        backbone.distance(images, images.take([3] * 6))[:1],
        backbone.distance(first, other),
        atol=1e-6,
    )


def test_many_images_are_taken_in_parts(backbone: EmbeddedBackbone, images: ImageBatch) -> None:
    many = images.take([i % 6 for i in range(70)])
    distance = backbone.distance(many, images.take([0] * 70))
    assert distance.shape == (70,)
    assert torch.allclose(
        distance[64:],
        backbone.distance(many.take(slice(64, None)), images.take([0] * 6)),
        atol=1e-6,
    )


def test_distance_is_a_distance_of_sorts(backbone: EmbeddedBackbone, images: ImageBatch) -> None:
    swapped = images.take([1, 0, 3, 2, 5, 4])
    assert backbone.distance(images, images).tolist() == [0.0] * 6
    assert bool((backbone.distance(images, swapped) > 0).all())
    assert torch.allclose(backbone.distance(images, swapped), backbone.distance(swapped, images))
    with pytest.raises(DataError, match="cannot compare"):
        backbone.distance(images, images.take([0]))


@pytest.mark.parametrize("name", sorted(DISTORTIONS))
def test_stronger_distortion_is_further_away(
    backbone: EmbeddedBackbone, images: ImageBatch, name: str
) -> None:
    means = []
    for strength in (0.0, 0.3, 0.9):
        changed = DISTORTIONS[name](images.pixels, torch.full((6,), strength), generator(0, "test"))
        means.append(float(backbone.distance(images, ImageBatch(changed)).mean()))
    assert means == sorted(means)
    assert means[0] == pytest.approx(0.0, abs=1e-4)
    assert means[2] > means[1] > means[0]


def test_distortions_keep_range_shape_and_other_sizes() -> None:
    pixels = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    for distortion in DISTORTIONS.values():
        changed = ImageBatch(
            distortion(pixels, torch.tensor([0.0, 0.5, 1.0]), generator(1, "test"))
        )
        assert changed.pixels.shape == pixels.shape
        assert torch.allclose(changed.pixels[0], pixels[0], atol=1e-5)
    once, again = (augment(pixels, generator(2, "test"), 0.5) for _ in range(2))
    assert torch.equal(once, again)


@pytest.fixture(scope="module")
def strangers() -> Records:
    """Two photographs each of a hundred people whom the backbone never saw."""
    return photos(HELD_OUT_IDENTITY, 100, 2, Silent())


def test_a_stranger_is_found_among_a_hundred_from_another_photo(
    backbone: EmbeddedBackbone, strangers: Records
) -> None:
    embedded = backbone.embed(strangers.image_batch()).double()
    found = ranks(embedded[1::2], embedded[0::2]) == 0
    assert float(found.double().mean()) >= LEAST_IDENTIFIED


def test_attributes_of_strangers_are_read(backbone: EmbeddedBackbone, strangers: Records) -> None:
    wanted = labels(strangers.attributes)
    read = backbone.attributes(strangers.image_batch())
    assert list(read) == list(CLASSES)
    for i, (name, probabilities) in enumerate(read.items()):
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(wanted)))
        right = (probabilities.argmax(dim=1) == wanted[:, i]).double().mean()
        commonest = (wanted[:, i] == wanted[:, i].mode().values).double().mean()
        if name not in HARDLY_READ:
            assert right > commonest + 0.05, name


def test_labels_refuse_what_no_class_stands_for(strangers: Records) -> None:
    with pytest.raises(ValueError, match=r"tuple\.index"):
        labels([{**strangers.attributes[0], "hat": "crown"}])


def test_any_size_is_resized(backbone: EmbeddedBackbone, images: ImageBatch) -> None:
    for side in (32, 200):
        other = ImageBatch(
            torch.nn.functional.interpolate(images.pixels, size=side, mode="nearest")
        )
        assert backbone.embed(other).shape == (6, 128)
        assert backbone.distance(other, other).tolist() == [0.0] * 6


def test_prompt_scores_are_cosines(backbone: EmbeddedBackbone, images: ImageBatch) -> None:
    scores = backbone.prompt_score(images, ("a woman with red hair",) * 5 + ("",))
    assert scores.shape == (6,)
    assert float(scores.abs().max()) <= 1.0
    with pytest.raises(DataError, match="6 images but 1 prompts"):
        backbone.prompt_score(images, ("a",))


def test_words_hash_the_same_everywhere() -> None:
    assert tokens(["Red  hair!"]).tolist() == tokens(["red hair"]).tolist()
    assert tokens(["red hair", ""]).tolist() == [[1, 4005, 635], [1, 0, 0]]
    assert tokens(["word " * 100]).shape == (1, 32)


def test_the_shipped_weights_are_small_and_load_once() -> None:
    from bench.backbones.embedded_backbone import WEIGHTS

    assert WEIGHTS.stat().st_size < 16 * 2**20
    assert load_embedded() is load_embedded()


def test_missing_or_damaged_shipped_weights_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"missing; make them with: python -m bench\.backbones\.recipe\.train"
    ):
        read_embedded(tmp_path / "embedded.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors")
    with pytest.raises(DataError, match=r"bad\.safetensors cannot be used"):
        read_embedded(tmp_path / "bad.safetensors")


def test_loading_leaves_the_global_random_state_alone() -> None:
    from bench.backbones.embedded_backbone import WEIGHTS

    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    read_embedded(WEIGHTS)
    assert torch.equal(torch.rand(2), expected)


def fake_alexnet(folder: Path) -> Path:
    """A random network under the published file's name."""
    path = folder / FILES["alex"].name
    torch.save(
        {
            "features.0.weight": torch.randn(
                64, 3, 11, 11, generator=torch.Generator().manual_seed(0)
            )
        },
        path,
    )
    return path


def test_a_random_network_under_the_right_name_is_refused(tmp_path: Path) -> None:
    path = fake_alexnet(tmp_path)
    with pytest.raises(DataError, match="has sha256") as caught:
        read_checked("alex", tmp_path)
    assert str(path) in str(caught.value)
    assert "7be5be79" in str(caught.value)
    with pytest.raises(DataError, match="has sha256"):
        load_backbones("alex", tmp_path)


def test_a_missing_file_is_named_with_its_folder(tmp_path: Path) -> None:
    for net in ("alex", "vgg", "inception-v3"):
        with pytest.raises(DataError) as caught:
            read_checked(net, tmp_path)
        assert FILES[net].name in str(caught.value)
        assert str(tmp_path) in str(caught.value)


def test_a_file_with_the_right_hash_must_still_be_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"cos\nsystem\n(S'true'\ntR."
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(external_backbones.FILES, "alex", WeightFile(name, "nowhere"))
    with pytest.raises(DataError, match="cannot be read as tensors"):
        read_checked("alex", tmp_path)


def test_weights_of_another_network_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fake_alexnet(tmp_path)
    name = f"alexnet-{hashlib.sha256(made.read_bytes()).hexdigest()[:8]}.pth"
    made.rename(tmp_path / name)
    monkeypatch.setitem(external_backbones.FILES, "alex", WeightFile(name, "nowhere"))
    with pytest.raises(DataError, match=r"the weights have no features\.0\.bias"):
        load_backbones("alex", tmp_path)


def test_auto_uses_the_shipped_backbone_where_no_file_is_usable(tmp_path: Path) -> None:
    chosen = load_backbones("auto", tmp_path)
    assert (chosen.perceptual.name, chosen.distribution.name) == (EMBEDDED, EMBEDDED)
    fake_alexnet(tmp_path)
    with pytest.warns(UserWarning, match="embedded backbone instead"):
        assert load_backbones("auto", tmp_path).perceptual.name == EMBEDDED
    assert load_backbones("embedded", tmp_path).perceptual.name == EMBEDDED


def test_auto_looks_into_the_usual_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert external_backbones.default_folder() == tmp_path / "hub" / "checkpoints"
    assert load_backbones().perceptual.name == EMBEDDED


def test_unknown_and_conflicting_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="unknown backbone 'resnet'"):
        load_backbones("resnet", tmp_path)
    with pytest.raises(RequestError, match="one of alex and vgg"):
        load_backbones("alex,vgg", tmp_path)
    assert issubclass(RequestError, BenchError)


@pytest.mark.skipif(fidelity_installed(), reason="torch-fidelity is installed")
def test_inception_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pip install torch-fidelity"):
        load_backbones("inception-v3", tmp_path)


@pytest.mark.skipif(not fidelity_installed(), reason="needs torch-fidelity")
def test_inception_refuses_tensors_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="do not fit"):
        external_backbones.InceptionBackbone({})


def test_training_repeats_to_the_last_bit(tmp_path: Path) -> None:
    recipe = Recipe(steps=2, identities=32, photos=2, people=4)
    first, second = (
        train(recipe, tmp_path / name, minutes=10, progress=Silent()).read_bytes()
        for name in ("one", "two")
    )
    assert first == second
    assert '"complete": true' in (tmp_path / "one" / "losses.jsonl").read_text()
    with pytest.raises(RequestError, match="too few"):
        train(Recipe(identities=8), tmp_path / "three", minutes=1, progress=Silent())


def test_towers_have_the_promised_size() -> None:
    with torch.random.fork_rng(devices=[]):
        count = sum(p.numel() for p in Towers().image.parameters())
    assert 1.5e6 < count < 2.5e6
