"""How far a measured share may be from the true one."""

import math
import statistics

CONFIDENCE = 0.95
"""Of all intervals here."""


def wilson(count: int, total: int) -> tuple[float, float]:
    """Returns the score interval of a share (Wilson, JASA 22, 1927).

    Unlike the share and its standard error it is right for small counts too: none of
    five may still be four of ten.

    Args:
        count: How many of them.
        total: How many there are; of none nothing is known.

    Returns:
        The lowest and the highest share that the counts are likely under.

    Example:

    >>> wilson(0, 5)
    (0.0, 0.4344...)
    """
    if not total:
        return 0.0, 1.0
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, spread = count / total, z**2 / total
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / total + (spread / total) / 4)
    low, high = ((middle + sign * half) / (1 + spread) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)
