"""A space around a network and a recipe: what its values mean, and which go together.

Beside the fields of `ResNetSpec` and of `Recipe`, whose values are those of `--set` (a
list has `-` between its numbers: `blocks_per_stage=3-4-6-3,2-2-2-2`), there are

`network`: a network of the table in the place of the base;
`blocks`: the number of blocks in every stage (the paper's n), `conv3_blocks` and so on
that of one stage, `stage_blocks` all of the latter, each drawn by itself;
`width`: by how much the stages are wider than the base's;
`activation`: `post`, or `pre` (1603.05027); the stem follows;
`magnitude`: that of RandAugment (1909.13719), added if the recipe has none; 0 for none.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from keras_resnet import blocks, networks, shortcuts, stems
from keras_resnet.spec import ResNetSpec
from keras_resnet.training import Recipe
from keras_resnet.training.overrides import override
from keras_resnet.tuning.space import Choice, Domain, Number, Range, Space, Times

Values = Mapping[str, Any]
"""What was drawn, by name."""

_OWN = ("network", "blocks", "stage_blocks", "width", "activation", "magnitude")
_GIVEN = ("name", "classes", "rank", "source", "published")
_NETWORK = [field.name for field in dataclasses.fields(ResNetSpec)]
_FIELDS = [
    name
    for name in (*_NETWORK, *(field.name for field in dataclasses.fields(Recipe)))
    if name not in (*_GIVEN, *_OWN)
]
_STAGE = re.compile(r"conv([2-9])_blocks")
_RANDAUGMENT = re.compile(r"((?:timm_)?randaugment\(\d+,)[^,)]+")

_PREACTIVATED_STEMS = {"imagenet": "imagenet_v2", "cifar": "cifar_v2"}
_ACTIVATED_STEMS = {
    **{pre: post for post, pre in _PREACTIVATED_STEMS.items()},
    "imagenet_v2_keras": "imagenet",
}

_PARENTS = {
    **dict.fromkeys(("network", "block", "shortcut", "activation"), ()),
    "first_shortcut": ("shortcut",),
    "stochastic_depth": ("network", "shortcut"),
    "zero_gamma": ("network", "block", "activation", "shortcut"),
    "antialias": ("network", "block", "activation", "stride_on"),
}
"""What decides which values of a field there are; for the others `_STRUCTURE` does."""

_STRUCTURE = ("network", "block", "activation")
_FIRST = (*_STRUCTURE, "shortcut", "stride_on")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A value to be drawn, as every tuner understands it.

    Args:
        name: Of what it is; where other conditions leave other values, with these
            behind it: `stem[basic_v2]`.
        domain: What is drawn.
        conditions: Names of other parameters, with those of their values under which
            this one is drawn.
    """

    name: str
    domain: Domain
    conditions: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclasses.dataclass(frozen=True)
class SpaceAround:
    """A space with what it is searched around.

    Args:
        space: What is varied; `Times` and `stage_blocks` are resolved at construction.
        network: What a network has where nothing was drawn.
        recipe: Likewise.

    Raises:
        ValueError: If the space names or gives what there is not.

    Example:

    >>> depth, resnet50 = Space.parse("depth"), NETWORKS["resnet50"]
    >>> near = SpaceAround(depth, resnet50, RECIPES["he2015"])
    >>> str(near.space)
    'conv2_blocks=1..3 conv3_blocks=1..4 conv4_blocks=1..6 conv5_blocks=1..3'
    """

    space: Space
    network: ResNetSpec
    recipe: Recipe

    def __post_init__(self) -> None:
        domains = dict(self._resolved())
        object.__setattr__(self, "space", Space(tuple(domains.items())))
        bases = [self.network]
        if "network" in domains:
            bases += map(networks.find, _ends(domains["network"]))
        for name, domain in domains.items():
            others = networks.NETWORKS.values() if name in _NETWORK else ()
            for value in _ends(domain):
                _check(name, value, [*bases, *others], self.recipe)

    def configure(self, values: Values) -> tuple[ResNetSpec, Recipe]:
        """Returns the network and the recipe that values mean.

        What the base has and a drawn block or shortcut cannot have falls away. Drawn
        numbers have three significant digits, so that the rate that people read is the
        rate that was used.

        Args:
            values: By the names of `parameters`, or of the space. Others, such as a
                tuner's own, are left out.

        Raises:
            ValueError: If there is no such network; the message is `ResNetSpec`'s.

        Example:

        >>> near.configure({"conv4_blocks": 2})[0].blocks_per_stage
        (3, 4, 2, 3)
        """
        drawn = {name.partition("[")[0]: value for name, value in values.items()}
        drawn = {
            name: _rounded(value) if isinstance(self._domains[name], Range) else value
            for name, value in drawn.items()
            if name in self._domains
        }
        return _network(self.network, self.recipe, drawn), _recipe(self.recipe, drawn)

    def refusal(self, values: Values) -> str:
        """Returns why there is no network for some values; empty if there is one."""
        try:
            self.configure(values)
        except ValueError as error:
            return str(error)
        return ""

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """What is to be drawn, each after those that its conditions name."""
        found: list[Parameter] = []
        order = {name: place for place, name in enumerate(_FIRST)}
        for name in sorted(self._domains, key=lambda n: order.get(n, len(order))):
            found += self._variants(name, found)
        return tuple(found)

    @functools.cached_property
    def _domains(self) -> dict[str, Domain]:
        return dict(self.space.domains)

    def _variants(self, name: str, before: list[Parameter]) -> list[Parameter]:
        """Returns a parameter for each set of values that others leave it."""
        parents = _PARENTS.get(name, _STRUCTURE if name in _NETWORK else ())
        parents = tuple(parent for parent in parents if parent in self._domains)
        leaves = list(self._leaves(name, parents, {}))
        variants = list(_split(leaves, parents))
        if not variants:
            least = self.refusal({name: _ends(self._domains[name])[-1]})
            raise ValueError(f"{name}={self._domains[name]} means nothing: {least}")
        return [
            Parameter(
                name if len(variants) == 1 else f"{name}[{_told(conditions)}]",
                allowed,
                tuple(
                    (_drawn_as(parent, conditions, before), values)
                    for parent, values in conditions
                ),
            )
            for conditions, allowed in variants
        ]

    def _leaves(
        self, name: str, parents: tuple[str, ...], assigned: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], Domain | None]]:
        """Yields every choice of the parents' values, with what it leaves."""
        if not parents:
            yield assigned, self._allowed(name, assigned)
            return
        first, *rest = parents
        allowed = self._allowed(first, assigned)
        # A parent that is not drawn decides nothing.
        values = allowed.values if isinstance(allowed, Choice) else (None,)
        for value in values:
            more = {} if value is None else {first: value}
            yield from self._leaves(name, tuple(rest), {**assigned, **more})

    def _allowed(self, name: str, assigned: dict[str, Any]) -> Domain | None:
        """Returns what is left to be drawn; None if it is not to be drawn at all."""
        domain = self._domains[name]
        if name not in _NETWORK or self.refusal(assigned):
            return domain
        fits = [v for v in _ends(domain) if not self.refusal({**assigned, name: v})]
        if isinstance(domain, Range):
            return domain if len(fits) == 2 else None
        if name == "stem" and not fits:
            block = self.configure(assigned)[0].block
            raise ValueError(
                f"stem={domain} has none for block {block!r}: leave stem out, which "
                f"follows the block, or add one (known: {', '.join(stems.STEMS)})"
            )
        without = self.configure(assigned)[0]
        matters = any(self.configure({**assigned, name: v})[0] != without for v in fits)
        return Choice(tuple(fits)) if matters else None

    def _resolved(self) -> Iterator[tuple[str, Domain]]:
        names = [name for name, _ in self.space.domains]
        for name, domain in self.space.domains:
            if name != "stage_blocks":
                yield name, self._absolute(name, domain)
                continue
            if "network" in names:
                raise ValueError(
                    "stage_blocks is about the stages of one network; leave it out, or "
                    "network"
                )
            for stage in range(2, 2 + len(self.network.filters)):
                if f"conv{stage}_blocks" not in names:
                    own = f"conv{stage}_blocks"
                    yield own, self._absolute(own, domain)

    def _absolute(self, name: str, domain: Domain) -> Domain:
        """Returns a domain without `Times`."""

        def number(value: Number) -> int | float:
            if not isinstance(value, Times):
                return value
            base = self._base(name)
            if isinstance(base, int):
                return max(1, round(value.factor * base))
            return value.factor * base

        return domain.resolved(number)

    def _base(self, name: str) -> int | float:
        if match := _STAGE.fullmatch(name):
            stage = int(match[1]) - 2
            if stage < len(self.network.filters):
                return self.network.blocks_per_stage[stage]
        for value in (self.network, self.recipe):
            base = getattr(value, name, None)
            if isinstance(base, (int, float)) and not isinstance(base, bool) and base:
                return base
        raise ValueError(
            f"{name}: the base has no number to be multiplied; write values without x"
        )


def _check(name: str, value: Any, bases: list[ResNetSpec], recipe: Recipe) -> None:
    """Refuses what none of some networks, or the recipe, can have."""
    if name not in (*_FIELDS, *_OWN) and not _STAGE.fullmatch(name):
        known = [*_OWN, "conv2_blocks", *_FIELDS]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise ValueError(
            f"nothing to vary is called {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else ";")
            + f" (known: {', '.join(known)})"
        )
    problem = None
    for base in bases:
        try:
            _network(base, recipe, {name: value})
            _recipe(recipe, {name: value})
            return
        except ValueError as error:
            problem = problem or error
    raise ValueError(f"{name}={value}: {problem}")


def _recipe(recipe: Recipe, drawn: Values) -> Recipe:
    fields = {field.name for field in dataclasses.fields(Recipe)} - {"network"}
    changes = {name: value for name, value in drawn.items() if name in fields}
    if "magnitude" in drawn:
        augmentation = changes.get("augmentation", recipe.augmentation)
        changes["augmentation"] = _augmented(augmentation, drawn["magnitude"])
    return override(recipe, changes, "recipe")


def _network(base: ResNetSpec, recipe: Recipe, drawn: Values) -> ResNetSpec:
    if "network" in drawn:
        base = _like(networks.find(drawn["network"]), base)
    changes = {name: drawn[name] for name in drawn if name in _NETWORK}
    counts = _counts(base.blocks_per_stage, drawn)
    if counts != base.blocks_per_stage:
        changes["blocks_per_stage"] = counts
    if "width" in drawn:
        changes["filters"] = _widened(base.filters, drawn["width"])
        if base.stem_filters:
            changes["stem_filters"] = max(1, round(base.stem_filters * drawn["width"]))
    block = str(changes.get("block", base.block))
    if "activation" in drawn:
        if drawn["activation"] not in ("post", "pre"):
            raise ValueError("there are post and pre")
        block = block.removesuffix("_v2") + "_v2" * (drawn["activation"] == "pre")
        changes["block"] = block
    changes = {**_fallen(base, block, changes), **changes}
    return override(base, {n: _listed(v) for n, v in changes.items()}, "model")


def _like(network: ResNetSpec, base: ResNetSpec) -> ResNetSpec:
    """Returns a network with what the base has other than the table."""
    published = networks.NETWORKS.get(base.name, base)
    own = {
        name: value
        for name, value in vars(base).items()
        if value != getattr(published, name)
    }
    return dataclasses.replace(network, **own)


def _fallen(base: ResNetSpec, block: str, changes: Values) -> dict[str, Any]:
    """Returns, in the place of what the base has and the changes rule out, defaults."""
    kind = blocks.BLOCKS.get(block, blocks.BLOCKS[base.block])
    fallen: set[str] = set()
    if block != base.block:
        fallen = set().union(*(other.options for other in blocks.BLOCKS.values()))
        fallen -= kind.options
    if not kind.preactivation:
        fallen |= {"use_bias", "strided_block"}
    shortcut = changes.get("shortcut", base.shortcut)
    if shortcut != base.shortcut:
        fallen.add("first_shortcut")
    if shortcut in shortcuts.SHORTCUTS and shortcuts.SHORTCUTS[shortcut].is_plain:
        fallen |= {"stochastic_depth", "zero_gamma"}
    result = {
        field.name: field.default
        for field in dataclasses.fields(ResNetSpec)
        if field.name in fallen and field.default is not dataclasses.MISSING
    }
    stems_that_suit = _PREACTIVATED_STEMS if kind.preactivation else _ACTIVATED_STEMS
    result["stem"] = stems_that_suit.get(base.stem, base.stem)
    return {name: v for name, v in result.items() if v != getattr(base, name)}


def _ends(domain: Domain) -> tuple[Any, ...]:
    """Returns a choice's values, a range's ends."""
    return domain.values if isinstance(domain, Choice) else (domain.low, domain.high)


Leaf = tuple[dict[str, Any], Domain | None]
Conditions = tuple[tuple[str, tuple[Any, ...]], ...]


def _split(
    leaves: list[Leaf], parents: tuple[str, ...]
) -> Iterator[tuple[Conditions, Domain]]:
    """Yields the fewest conditions on parents that tell the leaves' domains apart."""
    if len({allowed for _, allowed in leaves}) == 1:
        (_, allowed), *_ = leaves
        if allowed is not None:
            yield (), allowed
        return
    first, *rest = parents
    by_value: dict[Any, list[Leaf]] = {}
    for assigned, allowed in leaves:
        others = {name: v for name, v in assigned.items() if name != first}
        by_value.setdefault(assigned.get(first), []).append((others, allowed))
    groups: list[tuple[list[Any], list[Leaf]]] = []
    for value, same in by_value.items():
        group = next((values for values, known in groups if known == same), None)
        if group is None:
            groups.append(([value], same))
        else:
            group.append(value)
    for values, same in groups:
        own = ((first, tuple(values)),) if len(groups) > 1 else ()
        for conditions, allowed in _split(same, tuple(rest)):
            yield (*own, *conditions), allowed


def _told(conditions: Conditions) -> str:
    return ",".join(str(value) for _, values in conditions for value in values)


def _drawn_as(name: str, conditions: Conditions, before: list[Parameter]) -> str:
    """Returns the name of the variant of a parameter that is drawn there."""
    where = dict(conditions)
    for parameter in before:
        if parameter.name.partition("[")[0] == name and all(
            parent.partition("[")[0] not in where
            or set(where[parent.partition("[")[0]]) <= set(values)
            for parent, values in parameter.conditions
        ):
            return parameter.name
    return name


def _counts(counts: tuple[int, ...], drawn: Values) -> tuple[int, ...]:
    """Returns the numbers of blocks, a stage's own before that of all."""
    result = [drawn.get("blocks", count) for count in counts]
    for name, count in drawn.items():
        if match := _STAGE.fullmatch(name):
            stage = int(match[1]) - 2
            if stage >= len(counts):
                raise ValueError(f"{name}: the network has {len(counts)} stages")
            result[stage] = count
    return tuple(result)


def _widened(filters: tuple[int, ...], width: float) -> tuple[int, ...]:
    return tuple(max(1, round(count * width)) for count in filters)


def _augmented(augmentation: str, magnitude: float) -> str:
    """Returns an augmentation with RandAugment of this magnitude; none for zero."""
    if _RANDAUGMENT.search(augmentation):
        return _RANDAUGMENT.sub(rf"\g<1>{magnitude}", augmentation)
    if not magnitude:
        return augmentation
    # It comes before what mixes images, right after the view and its mirroring.
    steps = augmentation.split("|")
    place = 2 if steps[1:2] == ["flip"] else 1
    return "|".join([*steps[:place], f"randaugment(2,{magnitude})", *steps[place:]])


def _listed(value: Any) -> Any:
    """Returns a list with `-` between its numbers as `override` takes it."""
    is_list = isinstance(value, str) and re.fullmatch(r"\d+(-\d+)+", value)
    return value.replace("-", ",") if is_list else value


def _rounded(value: int | float) -> int | float:
    return float(f"{value:.3g}") if isinstance(value, float) else value
