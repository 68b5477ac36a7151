"""The forms of PromQL that the boards are made of."""

INSTANCE = 'instance=~"$instance"'
STAGE = f'{INSTANCE},stage=~"$stage"'
PLATFORM = f'{INSTANCE},platform=~"$platform"'

LAGGING = f'{INSTANCE},topic!~"retry[.].*"'
"""Without the delay topics: what is parked there is not late."""


def rate(metric: str, by: str = "", where: str = INSTANCE) -> str:
    """Return how much a counter grows in a second, summed by labels."""
    return _sum(f"rate({metric}{{{where}}}[$__rate_interval])", by)


def total(metric: str, by: str = "", where: str = INSTANCE) -> str:
    """Return the sum of a gauge by labels."""
    return _sum(f"{metric}{{{where}}}", by)


def largest(metric: str, by: str = "", where: str = INSTANCE) -> str:
    """Return the maximum of a gauge by labels; what every process reports alike is counted once."""
    return f"max by ({by}) ({metric}{{{where}}})" if by else f"max({metric}{{{where}}})"


def increase(metric: str, by: str = "", where: str = INSTANCE, window: str = "$__range") -> str:
    """Return how much a counter grew within a window, 0 where it does not exist yet."""
    grown = _sum(f"increase({metric}{{{where}}}[{window}])", by)
    return f"round({grown}) or on () vector(0)"


def quantile(share: float, metric: str, by: str = "", where: str = INSTANCE) -> str:
    """Return a percentile of a histogram by labels."""
    group = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({group})"
        f" (rate({metric}_bucket{{{where}}}[$__rate_interval])))"
    )


def _sum(inner: str, by: str) -> str:
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"
