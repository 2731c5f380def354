import pytest
import torch

from bench.data.conditions import extract
from bench.interfaces import RequestError


def test_canny_outlines_a_disc() -> None:
    line = torch.arange(64) - 31.5
    disc = (line[None] ** 2 + line[:, None] ** 2).sqrt() < 18
    image = (disc * 200).to(torch.uint8).expand(1, 3, 64, 64)
    edges = extract("canny", image)
    assert edges.shape == image.shape
    assert edges.dtype == torch.uint8
    assert set(edges.unique().tolist()) == {0, 255}
    assert torch.equal(edges[:, 0], edges[:, 1])
    assert torch.equal(edges[:, 0], edges[:, 2])
    rows, columns = torch.nonzero(edges[0, 0], as_tuple=True)
    radius = ((rows - 31.5) ** 2 + (columns - 31.5) ** 2).sqrt()
    assert float(radius.min()) > 16
    assert float(radius.max()) < 20
    assert len(rows) > 80


def test_canny_of_a_flat_picture_is_black() -> None:
    assert int(extract("canny", torch.full((2, 3, 64, 64), 90, dtype=torch.uint8)).max()) == 0


def test_the_input_is_left_alone() -> None:
    image = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    before = image.clone()
    extract("canny", image)
    assert torch.equal(image, before)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RequestError, match=r"canni.*canny"):
        extract("canni", torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
