from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from bench.data.portraits.dataset import Portraits
from bench.data.portraits.people import CLOTHES, GLASSES, HATS, SCENES, person, shot, stream
from bench.data.portraits.prompt import labels, prompt
from bench.data.portraits.render import draw, render
from bench.interfaces import Records, RequestError, Silent
from victims.pocket import tokenizer as tokens
from victims.pocket.figures import WEIGHTS


def load(limit: int, size: int = 64, **params: int) -> Records:
    dataset: Portraits = Portraits.build(params)
    return dataset.load(limit, image_size=size, condition="canny", progress=Silent())


def test_the_same_request_gives_the_same_records() -> None:
    assert load(6).content_hash() == load(6).content_hash()
    assert load(6).content_hash() != load(6, seed=1).content_hash()


def test_a_record_does_not_depend_on_how_many_are_asked_for() -> None:
    few, many = load(3), load(7)
    assert torch.equal(few.images, many.images[:3])
    assert few.prompts == many.prompts[:3]


def test_record_i_shows_its_identity() -> None:
    records = load(7, photos_per_identity=3, start=40)
    assert records.identities == ("p00040",) * 3 + ("p00041",) * 3 + ("p00042",)
    assert records.ids[:2] == ("portraits/000120", "portraits/000121")
    assert torch.equal(records.images[3], load(1, photos_per_identity=3, start=41).images[0])


def test_photographs_of_one_person_share_what_is_fixed() -> None:
    records = load(8)
    for key in ("gender", "skin", "hair_colour", "hair_style", "beard", "eyes"):
        assert len({a[key] for a in records.attributes[:4]}) == 1
    assert len({a["background"] for a in records.attributes}) > 2
    assert not torch.equal(records.images[0], records.images[1])


def test_people_differ() -> None:
    people = {person(i, 0) for i in range(3000)}
    assert len(people) == 3000


def test_the_same_face_in_the_same_shot_is_closer_than_another_face() -> None:
    view = shot(0, 0, 0)
    first, again = (
        draw(person(3, 0), view, 64),
        draw(person(3, 0), replace(view, exposure=view.exposure * 1.02), 64),
    )
    other = draw(person(4, 0), view, 64)

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a.astype(float) - b.astype(float)).mean())

    assert distance(first, again) < 0.5 * distance(first, other)


@pytest.mark.parametrize("size", [64, 100, 256])
def test_any_size_shows_the_same_scene(size: int) -> None:
    pixels, _, _ = render(5, 1, size, 0)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    small = render(5, 1, 64, 0)[0].astype(float).mean(axis=(0, 1))
    assert np.abs(pixels.astype(float).mean(axis=(0, 1)) - small).max() < 8


@pytest.mark.parametrize(
    ("field", "values"),
    [("scene", SCENES), ("clothes", CLOTHES), ("hat", HATS), ("glasses", GLASSES)],
)
def test_every_variant_can_be_drawn_and_differs(field: str, values: tuple[str, ...]) -> None:
    assert field in {f.name for f in fields(shot(0, 0, 0))}
    pictures = [draw(person(2, 0), replace(shot(2, 0, 0), **{field: v}), 64) for v in values]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert not np.array_equal(a, b)


def test_pictures_are_neither_flat_nor_burnt_out() -> None:
    pixels = load(24).images.float()
    assert float(pixels.std(dim=(1, 2, 3)).min()) > 15
    assert float((pixels == 255).float().mean()) < 0.05


def test_prompts_name_what_is_shown_and_fit_the_tokenizer() -> None:
    texts = []
    for i in range(1500):
        who, view = person(i, 0), shot(i, 0, 0)
        text, attributes = prompt(who, view, stream(0, "prompt", i, 0)), labels(who, view)
        texts.append(text)
        assert attributes["gender"] in text
        assert attributes["clothes_colour"] in text
        if attributes["hair_style"] != "bald":
            assert attributes["hair_colour"] in text
    assert len({" ".join(text.split()[:2]) for text in texts}) > 4
    tokenizer = tokens.load(WEIGHTS / "tokenizer")
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= tokens.MAX_TOKENS


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(RequestError, match="smallest is 64"):
        load(1, size=32)
