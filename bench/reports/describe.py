"""Describes plugins, threat models and channels from their cards, for ``bench describe``."""

from __future__ import annotations

import textwrap

from bench.interfaces.attack import Attack
from bench.interfaces.consulted_defense import STATEMENTS
from bench.interfaces.dataset import Dataset
from bench.interfaces.defense import Defense
from bench.interfaces.metric import Metric
from bench.interfaces.plugin import Plugin
from bench.interfaces.registry import KINDS, Registry, listing
from bench.interfaces.threat import PRESETS, ThreatModel
from bench.interfaces.victim import Victim
from bench.reports.markdown import escaped, table
from bench.types.channels import DESCRIPTIONS, Channel
from bench.util.errors import RequestError
from bench.util.text import suggestion

_BASES: dict[str, type[Plugin]] = {
    "attacks": Attack,
    "defenses": Defense,
    "victims": Victim,
    "metrics": Metric,
    "datasets": Dataset,
}


def describe_text(name: str, *, model: str | None = None) -> str:
    """Return a description of the plugin, threat model or channel of a name.

    Args:
        name: the name; if it has several meanings, all of them are described.
        model: the model of a victim; None is the embedded one.

    Raises:
        RequestError: nothing has that name.
    """
    parts = []
    names: set[str] = set()
    for kind in KINDS:
        names_of_kind = listing(kind).names()
        names.update(names_of_kind)
        if name in names_of_kind:
            registry = Registry(kind, _BASES[kind])
            parts.append(_plugin(kind, registry.load(name), str(registry.origin(name)), model))
    if name in PRESETS:
        parts.append(_threat(PRESETS[name]))
    if name in DESCRIPTIONS:
        parts.append(f"channel {name}\n  {DESCRIPTIONS[Channel(name)]}")
    if not parts:
        hint = suggestion(name, names | set(PRESETS) | set(DESCRIPTIONS))
        raise RequestError(f"nothing is called {name!r}{hint}")
    return "\n\n".join(parts)


def _plugin(kind: str, cls: type[Plugin], origin: str, model: str | None) -> str:
    card = cls.card
    fields = {
        "source": card.source,
        "needs": card.needs,
        "cost": card.cost,
        "notes": card.notes,
        "from": origin,
    }
    if issubclass(cls, Attack):
        budget = cls.default_budget
        fields["requires"] = ", ".join(sorted(cls.requires)) or "any of its inputs, see needs"
        fields["certificate"] = "; ".join(
            f"{c} on undefended {c.victim}, {c.protocol}" for c in cls.certificates
        )
        fields["budget"] = f"{budget.iterations} iterations of {budget.batch_size} records"
        if cls.budget_axis is not None:
            values = ", ".join(map(str, cls.budget_axis.values))
            fields["curve"] = f"bench run --curve runs over {cls.budget_axis.knob} {values}"
        fields["sees"] = (
            f"releases of {'every epoch' if cls.uses_history else 'the attacked epoch'}"
        )
        fields["threats"] = ", ".join(
            model.name for model in PRESETS.values() if _allows(model, cls)
        )
    if issubclass(cls, Defense) and cls.stands_for:
        fields["stands for"] = cls.stands_for
    if issubclass(cls, Defense):
        fields["states"] = ", ".join(stated_hooks(cls))
    if issubclass(cls, Victim):
        victim = cls.build({} if model is None else {"model": model})
        fields["protocols"] = ", ".join(cls.protocols)
        for protocol in cls.protocols:
            fields[f"wire of {protocol}"] = (
                ", ".join(sorted(victim.channels(protocol))) or "nothing"
            )
        fields |= victim.notes()
    lines = [f"{kind[:-1]} {cls.name}", _wrapped("  ", card.summary)]
    lines += [_wrapped(f"  {key + ':':<12} ", text) for key, text in fields.items() if text]
    for name, info in cls.Params.model_fields.items():
        default = (
            "required"
            if info.is_required()
            else f"default {info.get_default(call_default_factory=True)}"
        )
        kind_name = getattr(info.annotation, "__name__", None) or str(info.annotation).replace(
            "typing.", ""
        )
        lines.append(f"  parameter    {name} ({kind_name}, {default})")
    return "\n".join(lines)


def stated_hooks(defense: type[Defense]) -> list[str]:
    """Return the hooks by which a defence states what it does: those that its class replaces."""
    return [name for name in STATEMENTS if getattr(defense, name) is not getattr(Defense, name)]


def _allows(model: ThreatModel, attack: type[Attack]) -> bool:
    """Return whether a threat model grants what an attack requires, and its behaviour."""
    sees = model.grants is None or attack.requires <= set(model.grants)
    return sees and (model.behaviour == "malicious" or not attack.malicious)


def _threat(model: ThreatModel) -> str:
    sight = (
        "everything on the wire"
        if model.grants is None
        else ", ".join(model.grants) or "no channel"
    )
    yes_no = {True: "yes", False: "no"}
    return "\n".join(
        [
            f"threat model {model.name}",
            f"  role:        {model.role}, {model.behaviour}",
            _wrapped("  sees:        ", sight),
            f"  knows:       client weights {yes_no[model.weights_known]}, "
            f"defence {yes_no[model.defense_known]}",
            f"  auxiliary:   {'all of the split' if model.auxiliary is None else model.auxiliary}",
            f"  links:       {yes_no[model.linkable]}; queries {model.queries}",
        ]
    )


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(text, width=108, initial_indent=head, subsequent_indent=" " * len(head))


def plugin_table() -> str:
    """Return Markdown tables of all plugins of this project, from their cards."""
    parts = []
    for kind in KINDS:
        registry = Registry(kind, _BASES[kind])
        rows = []
        for name in filter(registry.built_in, registry.names()):
            cls = registry.load(name)
            card = cls.card
            cells = (f"`{name}`", card.summary, card.source, card.needs, card.notes)
            rows.append([escaped(cell) for cell in cells])
        heads = ("name", "what it is", "source", "needs", "notes")
        parts.append("\n".join([f"## {kind}", "", *table(heads, rows)]))
    return (
        "\n\n".join(
            [
                "# Plugins",
                "Made by `python -m bench.reports.describe` from the plugins' cards.",
                *parts,
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    print(plugin_table(), end="")
