"""The embedded image set: shapes drawn offline, so that a run needs no download.

Every drawing is a real JPEG of its own size and aspect ratio that holds one shape
of ten, and goes the whole way that a photograph goes. Position, size, rotation,
colours, polarity, texture and clutter say nothing about the class, so that pixel
values alone do not either: a linear model stays near chance
(``benchmarks/linear_on_drawings.py`` measures it) where a small convolutional
network is nearly always right.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from pipelines.errors import UserError

DEFAULT_COUNT = 6000
"""Drawings in the set of the default run."""

DEFAULT_SEED = 0
"""Seed of the set of the default run."""

SHORT_SIDE = (40, 64)
"""Least and greatest length of a drawing's shorter side, in pixels."""

MAX_ASPECT = 1.5
"""Greatest ratio of a drawing's longer to its shorter side."""

_RADIUS = (0.32, 0.45)  # Of the shape, in units of the shorter side.
_MAX_SQUEEZE = 0.2  # One axis of the shape may be this much shorter.
_MIN_CONTRAST = 90  # Between shape and background, in luma levels of 256.
_TINT = 40  # Greatest offset of a colour channel from the luma, in levels.
_TEXTURE_DEPTH = 25  # Greatest offset of the texture from the background's luma.
_MAX_STROKES = 2  # Under the shape, and as many over it.
_GRAYSCALE_SHARE = 0.1
_JPEG_QUALITY = (60, 95)
_SUPERSAMPLING = 4  # ImageDraw has no antialiasing of its own.


class Drawing(NamedTuple):
    """One drawn example.

    Attributes:
        class_name: the shape, a key of `SHAPES`.
        image: the encoded JPEG, RGB or grayscale.
        name: a file name that is unique in the set, such as ``"hourglass/000014.jpg"``.
    """

    class_name: str
    image: bytes
    name: str


# Outlines are closed curves of complex numbers within the unit disc: a rotation is
# then one multiplication. A shape is its outer outline and, if it has one, its hole.
Outlines = tuple[np.ndarray, ...]


def _arc(start: float, stop: float, radius: float = 1.0) -> np.ndarray:
    """Points on a circle about the origin, angles in degrees."""
    return radius * np.exp(1j * np.radians(np.linspace(start, stop, num=32)))


def _polygon(radii: tuple[float, ...], corners: int) -> np.ndarray:
    """Corners at equal angles whose distances from the centre repeat `radii`."""
    angles = np.arange(corners) * 2j * np.pi / corners
    return np.resize(radii, corners) * np.exp(angles)


def _arrow() -> Outlines:
    half = np.array([1, 0.1 + 0.75j, 0.1 + 0.28j, -0.9 + 0.28j])
    return (np.concatenate([half, half[::-1].conj()]),)


def _circle() -> Outlines:
    return (_arc(0, 360),)


def _crescent() -> Outlines:
    horn = 60
    reach = math.sin(math.radians(horn))
    bite = _arc(90, 270, reach) + math.cos(math.radians(horn))
    return (np.concatenate([_arc(horn, 360 - horn), bite[::-1]]),)


def _cross() -> Outlines:
    arm = np.array([0.95 + 0.3j, 0.3 + 0.3j, 0.3 + 0.95j])
    return (np.concatenate([arm, 1j * arm, -arm, -1j * arm]),)


def _hourglass() -> Outlines:
    half = np.array([0.55 + 0.8j, 0.1, 0.55 - 0.8j])
    return (np.concatenate([half, -half]),)


def _ring() -> Outlines:
    return (_arc(0, 360), _arc(0, 360, radius=0.55))


def _spiral() -> Outlines:
    turn = np.linspace(0, 3.5 * np.pi, 64)
    middle = np.linspace(0.05, 0.85, 64)
    inner, outer = (np.maximum(middle + edge, 0) for edge in (-0.12, 0.12))
    spin = np.exp(1j * turn)
    return (np.concatenate([outer * spin, (inner * spin)[::-1]]),)


def _square() -> Outlines:
    return (_polygon((1,), corners=4),)


def _star() -> Outlines:
    return (_polygon((1, 0.42), corners=10),)


def _triangle() -> Outlines:
    return (_polygon((1,), corners=3),)


SHAPES: Mapping[str, Outlines] = MappingProxyType(
    {
        "arrow": _arrow(),
        "circle": _circle(),
        "crescent": _crescent(),
        "cross": _cross(),
        "hourglass": _hourglass(),
        "ring": _ring(),
        "spiral": _spiral(),
        "square": _square(),
        "star": _star(),
        "triangle": _triangle(),
    }
)
"""The ten classes. Mirrored, each is still of its class."""


def _gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """One ramp across the image in any direction."""
    along = _along(rng, width, height)
    low, high = along.min(), along.max()
    return (along - low) * (255 / (high - low))


def _stripes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Waves in any direction, 4 to 12 to the length of a side."""
    wave_number = 2 * math.pi * rng.uniform(4, 12) / max(width, height)
    return 127.5 + 127.5 * np.sin(wave_number * _along(rng, width, height))


def _along(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Every pixel's coordinate along a random direction, `(height, width)`."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.ogrid[:height, :width]
    return math.cos(angle) * x + math.sin(angle) * y


def _grain(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Independent noise in every pixel."""
    return rng.integers(256, size=(height, width), dtype=np.uint8)


def _clouds(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Smooth noise, about six blobs to a side."""
    coarse = Image.fromarray(rng.integers(256, size=(6, 6), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


_TEXTURES: tuple[Callable[[np.random.Generator, int, int], np.ndarray], ...] = (
    _gradient,
    _stripes,
    _grain,
    _clouds,
)


def draw(count: int, seed: int) -> Iterator[Drawing]:
    """Draws a set of examples, its classes in turn.

    Drawing `i` depends on `seed` and `i` alone, so that a smaller set is the
    beginning of a larger one. Another release of NumPy, Pillow or its JPEG library
    may draw other bytes.

    Args:
        count: number of drawings; classes differ by one drawing at most.
        seed: integer of at least 0; another seed gives another set.

    Returns:
        An iterator of `Drawing`, drawn as it is read.

    Raises:
        UserError: `count` or `seed` is negative.

    Example:

    >>> [drawing.name for drawing in draw(count=2, seed=0)]
    ['arrow/000000.jpg', 'circle/000001.jpg']
    """
    for name, value in {"count": count, "seed": seed}.items():
        if value < 0:
            raise UserError(f"the drawings' {name} is {value}; give 0 or more")
    return (_draw_one(index, seed) for index in range(count))


def _draw_one(index: int, seed: int) -> Drawing:
    rng = np.random.default_rng((seed, index))
    class_name = tuple(SHAPES)[index % len(SHAPES)]
    width, height = _size(rng)
    background = rng.uniform(0, 256)
    # The way round a circle of 256 levels, so that both shape and background are
    # dark and bright alike, and never near each other.
    foreground = background + rng.uniform(_MIN_CONTRAST, 256 - _MIN_CONTRAST)

    image = _background(rng, background, width, height)
    _scribble(rng, image)
    mask, corner = _shape(rng, SHAPES[class_name], width, height)
    image.paste(_colour(rng, foreground % 256), corner, mask)
    _scribble(rng, image)
    if rng.random() < _GRAYSCALE_SHARE:
        image = image.convert("L")

    encoded = io.BytesIO()
    quality = int(rng.integers(*_JPEG_QUALITY, endpoint=True))
    image.save(encoded, "JPEG", quality=quality)
    return Drawing(class_name, encoded.getvalue(), f"{class_name}/{index:06d}.jpg")


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height, landscape or portrait."""
    short = int(rng.integers(*SHORT_SIDE, endpoint=True))
    long = int(short * rng.uniform(1, MAX_ASPECT))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _colour(rng: np.random.Generator, luma: float) -> tuple[int, ...]:
    """An RGB colour near a gray; Pillow clips what leaves 0 to 255."""
    return tuple((luma + rng.uniform(-_TINT, _TINT, size=3)).astype(int).tolist())


def _background(
    rng: np.random.Generator, luma: float, width: int, height: int
) -> Image.Image:
    """An RGB image of one texture between two colours about a luma."""
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, width, height)
    image = Image.new("RGB", (width, height), _colour(rng, luma - _TEXTURE_DEPTH))
    image.paste(
        _colour(rng, luma + _TEXTURE_DEPTH),
        mask=Image.fromarray(texture.astype(np.uint8)),
    )
    return image


def _scribble(rng: np.random.Generator, image: Image.Image) -> None:
    """Draws up to `_MAX_STROKES` thin straight strokes of any colour."""
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(_MAX_STROKES, endpoint=True)):
        ends = rng.random(size=(2, 2)) * image.size
        pen.line(ends.ravel().tolist(), _colour(rng, rng.uniform(0, 256)))


def _shape(
    rng: np.random.Generator, outlines: Outlines, width: int, height: int
) -> tuple[Image.Image, tuple[int, int]]:
    """The shape's mask and where its upper left corner goes.

    The shape lies wholly within the central square, which is what a resize of the
    shorter side and a central crop keep.
    """
    short = min(width, height)
    radius = short * rng.uniform(*_RADIUS)
    squeeze = rng.uniform(1 - _MAX_SQUEEZE, 1)
    if rng.random() < 0.5:
        squeeze = -squeeze  # Mirrors: a spiral may wind either way.
    tilts = np.exp(1j * rng.uniform(0, 2 * math.pi, size=2))

    box = math.ceil(2 * radius)
    mask = Image.new("L", (box * _SUPERSAMPLING,) * 2)
    pen = ImageDraw.Draw(mask)
    for outline, fill in zip(outlines, (255, 0), strict=False):
        turned = outline * tilts[0]
        points = (turned.real + 1j * squeeze * turned.imag) * tilts[1]
        points = (radius * points + box / 2 * (1 + 1j)) * _SUPERSAMPLING
        pen.polygon(points.view(float).tolist(), fill)

    room = short - box
    left = (width - short) // 2 + int(rng.integers(room, endpoint=True))
    top = (height - short) // 2 + int(rng.integers(room, endpoint=True))
    return mask.reduce(_SUPERSAMPLING), (left, top)
