"""What a cell is: one canonical form, and a hash that every field moves."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from bench.data.split_sizes import SplitSizes
from bench.interfaces import RequestError, ThreatModel
from bench.settings.cell import (
    AttackSpec,
    CaptureSpec,
    CellSpec,
    DataSpec,
    PluginSpec,
    TrainSpec,
    UtilitySpec,
)
from bench.settings.names import parse_plugin, parse_stack


def plugin(name: str, **params: Any) -> PluginSpec:
    return PluginSpec(name=name, params=params, label=name, code="c0de")


def capture() -> CaptureSpec:
    return CaptureSpec(
        victim=plugin("v", model="m"),
        protocol="p",
        model="m",
        model_hash="abc",
        defense=(plugin("d", a=1), plugin("e", b=[1, {"c": 2}])),
        data=DataSpec(dataset=plugin("s", seed=0)),
        data_hash="def",
        training=TrainSpec(),
        seed=0,
        device="cpu",
        versions={"torch": "2"},
        adversary=plugin("hijack", width=8),
    )


def cell() -> CellSpec:
    return CellSpec(
        capture=capture(),
        attack=AttackSpec(attack=plugin("a", k="v"), iterations=5),
        threat=ThreatModel(grants=("timestep",), withhold=("noise_target",), auxiliary=3),
        utility=UtilitySpec(),
        backbones=("identity=x", "prompt=y"),
        metrics=(plugin("mse"), plugin("identified", far=0.01)),
    )


def other(value: Any, annotation: Any = None) -> Any:
    """A value that is not ``value``, of its type where that matters."""
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    assert isinstance(value, str), value
    return value + "x"


def changes(value: Any, annotation: Any = None) -> Iterator[tuple[str, Any]]:
    """Every way to change one thing in ``value``: the path, and the whole with that change."""
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            for path, changed in changes(getattr(value, name), info.annotation):
                yield f"{name}.{path}", value.model_copy(update={name: changed})
    elif isinstance(value, dict):
        yield "added", {**value, "another": "1"}
        for key in value:
            yield f"{key}.dropped", {k: v for k, v in value.items() if k != key}
            for path, changed in changes(value[key]):
                yield f"{key}.{path}", {**value, key: changed}
    elif isinstance(value, tuple | list):
        kind = type(value)
        yield "dropped", kind(value[:-1])
        if len(value) > 1:
            yield "reversed", kind(reversed(value))
        for i, item in enumerate(value):
            for path, changed in changes(item):
                yield f"{i}.{path}", kind([*value[:i], changed, *value[i + 1 :]])
        if len(value) == 0:
            raise AssertionError("an empty tuple hides its items from this test")
    else:
        yield "", other(value, annotation)


def model_fields(value: Any) -> set[str]:
    """Dotted paths of all fields of all models reachable without an index."""
    found = set()
    for name in type(value).model_fields:
        inner = getattr(value, name)
        found |= (
            {f"{name}.{rest}" for rest in model_fields(inner)}
            if isinstance(inner, BaseModel)
            else {name}
        )
    return found


@pytest.mark.parametrize("make", [capture, cell])
def test_every_field_moves_the_hash(make: Any) -> None:
    spec = make()
    before = spec.content_hash()
    flipped = dict(changes(spec))
    assert [path for path, changed in flipped.items() if changed.content_hash() == before] == []
    hashes = [changed.content_hash() for changed in flipped.values()]
    assert len(set(hashes)) == len(hashes), "two different changes share a hash"
    missed = [
        field
        for field in model_fields(spec)
        if not any(path.startswith(field + ".") for path in flipped)
    ]
    assert missed == []


def test_a_none_differs_from_an_empty_or_zero() -> None:
    base = cell()
    for update in ({"grants": None}, {"grants": ()}, {"auxiliary": None}, {"auxiliary": 0}):
        changed = base.model_copy(update={"threat": base.threat.model_copy(update=update)})
        assert changed.cell_id != base.cell_id
    everything, nothing = (base.threat.model_copy(update={"grants": g}) for g in (None, ()))
    assert (
        base.model_copy(update={"threat": everything}).cell_id
        != base.model_copy(update={"threat": nothing}).cell_id
    )


def test_canonical_json_is_stable_under_order_and_round_trip() -> None:
    one, two = plugin("x", a=1, b=2.5, c="é"), plugin("x", c="é", b=2.5, a=1)
    assert one.canonical() == two.canonical()
    assert one.content_hash() == two.content_hash()
    again = CellSpec.model_validate_json(cell().canonical())
    assert again.canonical() == cell().canonical()
    assert again == cell()
    assert json.loads(cell().canonical())["capture"]["defense"][1]["params"] == {"b": [1, {"c": 2}]}


def test_canonical_form_has_a_known_hash() -> None:
    """A change of the form would orphan every stored capture, so it must be deliberate."""
    utility = UtilitySpec(steps=15)
    assert utility.canonical() == '{"guidance":2.0,"seed":0,"steps":15}'
    sizes = SplitSizes(victim=192, auxiliary=384, calibration=64, evaluation=64)
    assert sizes.canonical() == '{"auxiliary":384,"calibration":64,"evaluation":64,"victim":192}'
    assert (
        utility.content_hash() == "933cd196a32ada89ed3ec1d8f1aa22f9863a648d6b156da31e4dce8419f17ac2"
    )


def test_cell_id_is_the_head_of_the_hash() -> None:
    assert cell().cell_id == cell().content_hash()[:16]
    assert len(cell().content_hash()) == 64


def test_specs_are_frozen_and_refuse_strangers() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        cell().utility.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrainSpec(epoch=3)  # type: ignore[call-arg]
    for bad in ({"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"dtype": "fp8"}):
        with pytest.raises(ValidationError):
            TrainSpec(**bad)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ("none", {})),
        (" none ", ("none", {})),
        ("timestep:t_min=500", ("timestep", {"t_min": 500})),
        ("a:x=1.5,y=true,z=null,w=text", ("a", {"x": 1.5, "y": True, "z": None, "w": "text"})),
        ("a: x = 1 , y=b ", ("a", {"x": 1, "y": "b"})),
        ("a:path=C=D", ("a", {"path": "C=D"})),
        ('a:n="5"', ("a", {"n": "5"})),
        ("a:", ("a", {})),
        ("a:groups=[3,4]", ("a", {"groups": [3, 4]})),
        ("a:groups=[3, 4],x=1", ("a", {"groups": [3, 4], "x": 1})),
        ("a:words=[red,blue]", ("a", {"words": ["red", "blue"]})),
        ("a:words=[],pairs=[[1,2],[3]]", ("a", {"words": [], "pairs": [[1, 2], [3]]})),
        ('a:table={"k":[1,2]},text="b,c"', ("a", {"table": {"k": [1, 2]}, "text": "b,c"})),
        ("a:path=/data (new", ("a", {"path": "/data (new"})),
    ],
)
def test_plugins_are_parsed(text: str, expected: tuple[str, dict[str, Any]]) -> None:
    assert parse_plugin(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name is missing"),
        (":a=1", "name is missing"),
        ("a:b", "'b' must be key=value"),
        ("a:=3", "'=3' must be key=value"),
        ("a:b=1,b=2", "'b' is given twice"),
        ("a:b=[1,2", "brackets do not match"),
        ("a:b=1]", "brackets do not match"),
    ],
)
def test_what_is_no_plugin_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse_plugin(text)
    assert repr(text.partition(":")[2]) in str(caught.value) or repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stacks_are_parsed_in_order() -> None:
    assert parse_stack("timestep:t_min=5 + prompt") == [("timestep", {"t_min": 5}), ("prompt", {})]
    assert parse_stack("noise:sigma=1e+2+topk:kept=[1,2]") == [
        ("noise", {"sigma": 100.0}),
        ("topk", {"kept": [1, 2]}),
    ]
    assert parse_stack("noise:path=a1e+b") == [("noise", {"path": "a1e"}), ("b", {})]
    with pytest.raises(RequestError, match="name is missing"):
        parse_stack("timestep+")
