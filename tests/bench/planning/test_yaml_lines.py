"""YAML of suites: traps of version 1.1 give what was meant, or one sentence with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.interfaces import RequestError
from bench.planning.suite import read_suite
from bench.planning.yaml_lines import MOST_VALUES, read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


def read(content: bytes | str, folder: Path) -> object:
    path = folder / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path).content


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: off", "off"),
        ("a: [no, on, yes, y, None]", ["no", "on", "yes", "y", "None"]),
        ("a: [true, False]", [True, False]),
        ("a: 1e-3", 0.001),
        ("a: -1.5E+3", -1500.0),
        ("a: [.5, 1., 0.25]", [0.5, 1.0, 0.25]),
        ("a: [0, 7, -7, 1_000, 0x1F]", [0, 7, -7, 1000, 31]),
        ("a: 1:30", "1:30"),
        ("a: 2026-01-01", "2026-01-01"),
        ("a: '010'", "010"),
        ("a: [~, null]", [None, None]),
        ("a:", None),
        ("%YAML 1.1\n---\na: off", "off"),
        (b"\xef\xbb\xbfa: 1", 1),
        ("a: ä", "ä"),
        ("a: 1\r\n", 1),
    ],
)
def test_plain_values_are_what_they_look_like(text, value, tmp_path) -> None:
    assert read(text, tmp_path) == {"a": value}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("b: 1\na: 010", "line 2: 010 is octal to some readers and decimal to others"),
        ("a: 0o17", "line 1: 0o17 is octal"),
        ("a:\n\tb: 1", "line 2: not valid YAML: found character '\\t'"),
        (b"a: b\nc: \xff", "line 2: cannot be read as a text file: not in UTF-8"),
        ("a: 1".encode("utf-16"), "line 1: cannot be read as a text file: not in UTF-8"),
        ("a: b\nc: \x01", "line 2: not valid YAML: holds a control character"),
        ("a: 1\na: 2", "line 2: 'a' is given twice"),
        ("? [a]\n: 1", "line 1: a key must be a word"),
        ("1: 2", "line 1: the key 1 must be a word"),
        ("a: !!bool maybe", "line 1: 'maybe' is no value of bool"),
        ("a: !!timestamp x", "line 1: 'x' is no value of timestamp"),
        ("a: " + "9" * 5000, "is no value of int"),
        (
            "a: !!python/object:os.system x",
            "line 1: not valid YAML: could not determine a constructor",
        ),
        (LAUGHS, "too many or too deeply nested values; are aliases repeated?"),
        ("a: &a [*a]", "line 1: too many or too deeply nested values"),
        ("[" * 5000, "nested too deeply"),
        ("a: 1\n---\nb: 2", "line 2: not valid YAML: but found another document"),
        ("#" * (2**20 + 1), "larger than 1 MiB"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_ambiguous_or_harmful_is_refused_with_its_line(text, words, tmp_path) -> None:
    with pytest.raises(RequestError) as caught:
        read(text, tmp_path)
    assert str(caught.value).startswith("mine.yaml")
    assert words in str(caught.value)


def test_aliases_may_be_used_and_long_lists_too(tmp_path) -> None:
    assert read("a: &a [1, 2]\nb: *a", tmp_path) == {"a": [1, 2], "b": [1, 2]}
    assert len(read("[" + "x, " * (MOST_VALUES - 10) + "]", tmp_path)) == MOST_VALUES - 10


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epochs: 1:30", "line 1: settings.epochs: input should be a valid integer"),
        ("epochs: 010", "line 1: 010 is octal"),
        ("learning_rate: .inf", "line 1: settings.learning_rate: input should be a finite number"),
        ("model: off", None),
        ("learning_rate: 1e-3", None),
    ],
)
def test_settings_of_a_suite(setting, words, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"settings: {{{setting}}}\nblocks:\n  one: {{attacks: [closed-form], defenses: [no]}}\n"
    )
    if words is None:
        suite = read_suite(path).content
        assert suite.blocks["one"].defenses == ("no",)
        assert suite.settings.given() in ({"model": "off"}, {"learning_rate": 0.001})
    else:
        with pytest.raises(RequestError, match=words.replace(".", r"\.")):
            read_suite(path)
