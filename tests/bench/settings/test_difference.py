"""What two specs differ in, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.settings.difference import spec_difference

SPEC: dict[str, Any] = {
    "code": "c0",
    "attack": {
        "attack": {"name": "posterior", "label": "posterior", "code": "a0", "params": {}},
        "targets": 8,
    },
    "capture": {
        "code": "t0",
        "data": {"dataset": {"name": "folder", "params": {"path": "x"}}, "image_size": 64},
        "data_hash": "d0",
        "defense": [
            {"name": "published", "label": "published", "code": "p0", "params": {"sigma": 1.0}}
        ],
        "model_hash": "m0",
        "training": {"epochs": 5},
        "versions": {"torch": "2.1"},
        "victim": {"name": "v", "params": {}},
    },
}


def changed(*path: str | int, value: Any) -> str:
    spec = json.loads(json.dumps(SPEC))
    node = spec
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return json.dumps(spec)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("code",), "c1", "other code of attack runs and scoring"),
        (("capture", "code"), "t1", "other code of training and recording"),
        (("attack", "attack", "code"), "a1", "other code of attack posterior"),
        (("capture", "defense", 0, "code"), "p1", "other code of defence published"),
        (
            ("capture", "defense", 0, "params", "sigma"),
            0.25,
            "sigma of defence published 1.0 (now 0.25)",
        ),
        (
            ("capture", "data", "dataset", "params", "path"),
            "y",
            "path of data set folder x (now y)",
        ),
        (("capture", "data_hash"), "d1", "other records of the data set"),
        (("capture", "model_hash"), "m1", "other files of the model"),
        (("capture", "training", "epochs"), 6, "epochs 5 (now 6)"),
        (("capture", "versions", "torch"), "2.2", "torch 2.1 (now 2.2)"),
        (("capture", "adversary"), "x", "adversary absent (now x)"),
    ],
)
def test_a_difference_is_named(path, value, words):
    assert spec_difference(json.dumps(SPEC), changed(*path, value=value)) == (words,)


def test_equal_specs_labels_and_what_is_no_spec():
    assert spec_difference(json.dumps(SPEC), json.dumps(SPEC)) == ()
    assert spec_difference(json.dumps(SPEC), changed("attack", "attack", "label", value="x")) == ()
    assert spec_difference("", json.dumps(SPEC))
