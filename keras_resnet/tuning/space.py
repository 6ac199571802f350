"""What a search varies: one frozen value, and its text.

`"conv4_blocks=1..6 shortcut=A,B,C,none learning_rate=log(0.125x,4x)"`: choices have
commas between, `a..b` is a range with both ends, `log(a,b)` one whose logarithm is
drawn uniformly, and `4x` means four times what the base has.
"""

import dataclasses
import math
import re
from collections.abc import Callable

_TIMES = re.compile(r"(.+)x")
_LOG = re.compile(r"log\((.*)\)")
_NAME = re.compile(r"[a-z]\w*")


@dataclasses.dataclass(frozen=True)
class Times:
    """A number in units of what the base has, such as `0.5x`.

    Args:
        factor: How many of them.
    """

    factor: float

    def __str__(self) -> str:
        return f"{self.factor!r}x"


Number = int | float | Times


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values.

    Args:
        values: The values; whole numbers, numbers, or texts as `--set` takes them.

    Example:

    >>> str(Choice((1, 2, 3)))
    '1,2,3'
    """

    values: tuple[str | Number, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.values))

    def resolved(self, number: Callable[[Number], int | float]) -> "Choice":
        """Returns the same without `Times`."""
        values = (v if isinstance(v, str) else number(v) for v in self.values)
        return Choice(tuple(dict.fromkeys(values)))


@dataclasses.dataclass(frozen=True)
class Range:
    """A number between two others, or one of them.

    Args:
        low: The least; drawn are whole numbers where both ends are.
        high: The greatest.
        is_log: Whether the logarithm is drawn uniformly.

    Raises:
        ValueError: If the ends are in the wrong order, or not positive for a logarithm.

    Example:

    >>> str(Range(0.01, 1.0, is_log=True))
    'log(0.01,1.0)'
    """

    low: Number
    high: Number
    is_log: bool = False

    def __post_init__(self) -> None:
        ends = [e.factor if isinstance(e, Times) else e for e in (self.low, self.high)]
        are_alike = isinstance(self.low, Times) == isinstance(self.high, Times)
        if are_alike and ends[0] >= ends[1]:
            raise ValueError(f"{self} needs its smaller end first")
        if self.is_log and min(ends) <= 0:
            raise ValueError(f"{self} needs ends above 0, which have a logarithm")

    def __str__(self) -> str:
        if self.is_log:
            return f"log({self.low},{self.high})"
        return f"{self.low}..{self.high}"

    def resolved(self, number: Callable[[Number], int | float]) -> "Range | Choice":
        """Returns the same without `Times`; a choice where the ends have met."""
        low, high = number(self.low), number(self.high)
        return Range(low, high, self.is_log) if low != high else Choice((low,))


Domain = Choice | Range


@dataclasses.dataclass(frozen=True)
class Space:
    """What a search draws from, whatever it searches around.

    Args:
        domains: Names with what is drawn for them, see `keras_resnet.tuning.around`.

    Example:

    >>> space = Space.parse("blocks=1..5 shortcut=A,B,C,none")
    >>> str(space)
    'blocks=1..5 shortcut=A,B,C,none'
    """

    domains: tuple[tuple[str, Domain], ...]

    def __str__(self) -> str:
        return " ".join(f"{name}={domain}" for name, domain in self.domains)

    @classmethod
    def parse(cls, text: str) -> "Space":
        """Returns the space that a text describes.

        Args:
            text: `NAME=VALUES` with blanks between. A word without `=` is the name of
                a space in `keras_resnet.tuning.SPACES`; what follows goes before it.

        Raises:
            ValueError: If a part is none; the message says what there is.
        """
        domains: dict[str, Domain] = {}
        for word in text.split():
            name, equals, values = word.partition("=")
            if not equals:
                domains |= dict(cls.parse(_named(word)).domains)
                continue
            if not _NAME.fullmatch(name) or not values:
                raise ValueError(
                    f"{word!r} is no NAME=VALUES, such as blocks=1..5, shortcut=A,B or "
                    "learning_rate=log(0.01,1)"
                )
            try:
                domains[name] = _domain(values)
            except ValueError as error:
                raise ValueError(f"{word!r}: {error}") from None
        if not domains:
            raise ValueError(
                "a space of nothing; name what to vary, such as blocks=1..5, or one of "
                f"the spaces {', '.join(SPACES)}"
            )
        return cls(tuple(domains.items()))


def _named(name: str) -> str:
    if name not in SPACES:
        raise ValueError(
            f"no space is called {name!r} (known: {', '.join(SPACES)}), and it is no "
            "NAME=VALUES"
        )
    return SPACES[name]


def _domain(text: str) -> Domain:
    if match := _LOG.fullmatch(text):
        low, comma, high = match[1].partition(",")
        return Range(_number(low), _number(high), is_log=True)
    # A range has no commas; a text such as `1-2` is a choice.
    low, dots, high = text.partition("..")
    if dots:
        return Range(_number(low), _number(high))
    # Those within brackets belong to an augmentation.
    texts = re.split(r",(?![^(]*\))", text)
    values: tuple[str | Number, ...] = tuple(texts)
    if all(map(_is_number, texts)):
        values = tuple(map(_number, texts))
        if any(isinstance(value, float) for value in values):
            values = tuple(float(v) if isinstance(v, int) else v for v in values)
    if "" in values or len(set(values)) < len(values):
        raise ValueError("a choice is empty or there twice")
    return Choice(values)


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> Number:
    if match := _TIMES.fullmatch(text):
        return Times(_finite(match[1]))
    try:
        return int(text)
    except ValueError:
        return _finite(text)


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"{text!r} is no number; write 3, 0.1, 1e-4, or 2x for twice the base's"
        )
    return number


_RATE = "learning_rate=log(0.125x,4x)"

SPACES: dict[str, str] = {
    # From one block in each stage to those of the network itself.
    "default": f"stage_blocks=1..1x shortcut=A,B,C,none {_RATE}",
    "depth": "stage_blocks=1..1x",
    # 1512.03385: Table 6 and section 3.3, Table 1 with Table 3's shortcuts.
    "paper": "network=resnet20,resnet32,resnet44,resnet56,resnet110 "
    "shortcut=A,B,C,none",
    "paper_imagenet": "network=resnet18,resnet34,resnet50,resnet101,resnet152 "
    "shortcut=A,B,C,none",
    # Networks with three stages no deeper and no wider than ResNet-20.
    "resnet20_cheap": "conv2_blocks=1..3 conv3_blocks=1..3 conv4_blocks=1..3 "
    f"width=0.5,0.75,1.0 shortcut=A,B,D {_RATE}",
    # What came after the paper: 1603.05027, 1709.01507, 1603.09382, 1812.01187.
    "heirs": "stage_blocks=1..1x activation=post,pre shortcut=A,B,C,D "
    "squeeze_excitation=None,16 stochastic_depth=0.0..0.3 zero_gamma=False,True "
    f"{_RATE}",
    "recipe": f"{_RATE} weight_decay=log(0.1x,10x) label_smoothing=0.0..0.2 "
    "magnitude=0..10",
    "learning_rate": _RATE,
}
"""Spaces by name, as text; `default` is what is searched where nothing is said."""
