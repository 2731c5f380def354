"""Natural-language prompts and labels of portraits.

A prompt has at most twenty-five words, so that it fits 32 tokens of a tokenizer that knows the
words.
"""

from __future__ import annotations

import numpy as np

from bench.data.portraits.people import COLOURED_SCENES, Person, Shot

STYLE_WORDS = {
    "short": ("short {c} hair", "short {c} hair", "neat {c} hair"),
    "long": ("long {c} hair", "long {c} hair", "long straight {c} hair"),
    "curly": ("curly {c} hair", "curly {c} hair", "{c} curls"),
    "bob": ("a {c} bob", "{c} bobbed hair", "a {c} bob"),
    "spiky": ("spiky {c} hair", "spiky {c} hair", "wild {c} hair"),
    "bun": ("{c} hair in a bun", "a {c} bun", "{c} hair in a bun"),
}
SCENE_WORDS = {
    "brick wall": ("a brick wall", "bricks"),
    "sky": ("a cloudy sky", "the sky"),
    "trees": ("trees", "green trees"),
    "bookshelf": ("a bookshelf", "shelves of books"),
    "sea": ("the sea", "the beach"),
    "studio": ("a dark studio", "a dark background"),
}
EXPRESSION_WORDS = {
    "smiling": ("smiling", "happy"),
    "serious": ("serious", "calm"),
    "laughing": ("laughing", "laughing"),
    "sad": ("sad", "unhappy"),
    "surprised": ("surprised", "astonished"),
}


def article(words: str) -> str:
    """Return the words with their indefinite article."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def labels(p: Person, s: Shot) -> dict[str, str]:
    """Return the attribute labels of a photograph."""
    scene = f"{s.scene_name} {s.scene}" if s.scene in COLOURED_SCENES else s.scene
    return {
        "gender": p.noun,
        "skin": p.skin_name,
        "hair_colour": "none" if p.style == "bald" else p.hair_name,
        "hair_style": p.style,
        "beard": p.beard,
        "eyes": p.eye_name,
        "expression": s.expression,
        "glasses": s.glasses,
        "hat": s.hat,
        "hat_colour": s.hat_name if s.hat != "none" else "none",
        "earrings": "yes" if s.earrings else "no",
        "clothes": s.clothes,
        "clothes_colour": s.clothes_name,
        "background": scene,
    }


def prompt(p: Person, s: Shot, rng: np.random.Generator) -> str:
    """Return one of several phrasings of the photograph's content."""
    pick = rng.integers
    mood = EXPRESSION_WORDS[s.expression][int(pick(2))]
    clothes = article(f"{s.clothes_name} {s.clothes}")
    place = (
        article(f"{s.scene_name} {s.scene}")
        if s.scene in COLOURED_SCENES
        else SCENE_WORDS[s.scene][int(pick(2))]
    )
    if p.style == "bald":
        who, hair = f"bald {p.noun}", ""
    else:
        who, hair = p.noun, STYLE_WORDS[p.style][int(pick(3))].format(c=p.hair_name)
    if p.beard != "none":
        hair = f"{hair} and {article(p.beard)}" if hair else article(p.beard)
    extras = []
    if s.glasses != "none":
        extras.append("sunglasses" if s.glasses == "sunglasses" else f"{s.glasses} glasses")
    if s.hat != "none":
        extras.append(article(f"{s.hat_name} {s.hat}"))
    if s.earrings and len(extras) < 2:
        extras.append("earrings")
    worn = [*extras[: 1 if p.beard != "none" else 2], clothes]
    listed = ", ".join(worn[:-1]) + " and " + worn[-1] if len(worn) > 1 else worn[0]
    form = int(pick(4))
    if form == 0:
        having = (
            ", ".join(x for x in (hair, listed) if x)
            if len(worn) > 1
            else " and ".join(x for x in (hair, listed) if x)
        )
        return f"{article(mood)} {who} with {having} in front of {place}"
    if form == 1:
        with_hair = f" with {hair}" if hair else ""
        return f"a portrait of {article(mood)} {who}{with_hair} wearing {listed}, {place}"
    if form == 2:
        with_hair = f", {hair}" if hair else ""
        return f"photo of {article(who)}{with_hair}, {listed}, {mood}, {place}"
    with_hair = f" {hair}," if hair else ""
    return f"{article(mood)} {who},{with_hair} {listed}, {place} behind"
