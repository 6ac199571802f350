"""What came of the papers' claims: a page, and docs/reproduction.md with its table."""

import base64
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_resnet.experiments import BUDGETS, CLAIMS, Claim, Finding, Reproduction
from pipelines import files
from pipelines.reports.markup import Section, table, text
from pipelines.reports.page import write_page
from pipelines.training.history import read_rows, write_rows

TABLE = "data/claims.csv"
"""What each seed gave, below the folder of the documentation."""

_CLASSES = {"confirmed": "good", "contradicted": "error"}


def shown(value: float) -> str:
    """Returns a number as people read it.

    Example:

    >>> shown(0.18563)
    '0.186'
    """
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def command(claim: Claim, budget: str) -> str:
    """Returns the command that measures a claim."""
    return f"python -m pipelines.reproduce {claim.name} --budget={budget}"


def write_claims_page(path: Path, results: Sequence[Reproduction]) -> None:
    """Writes one page of all claims that were measured: an index, then each.

    Args:
        path: The HTML file, in the folder that has the claims' own.
        results: What came of them.

    Example:

    >>> write_claims_page(Path("runs/claims/claims.html"), results)
    """
    index = table(
        ["claim", "verdict", "budget", "seeds"],
        [
            (one.claim.name, one.verdict.verdict, one.budget, one.verdict.seeds)
            for one in results
        ],
    )
    sections = [
        Section("All claims", index),
        *(_section(path.parent, one) for one in results),
    ]
    header = "<h1>The papers, executed</h1>"
    write_page(path, "The papers, executed", header, sections)


def _section(folder: Path, result: Reproduction) -> Section:
    claim, verdict = result.claim, result.verdict
    picture = folder / claim.name / result.budget / "figure.png"
    image = ""
    if picture.exists():
        encoded = base64.b64encode(picture.read_bytes()).decode()
        image = (
            f'<p><img style="max-width:100%" alt="{text(claim.sentence)}" '
            f'src="data:image/png;base64,{encoded}"></p>'
        )
    head, rows = _measured(verdict.findings)
    body = (
        f'<div class="anomaly {_CLASSES.get(verdict.verdict, "warning")}"><span '
        f'class="badge">{text(verdict.verdict)}</span>{text(claim.sentence)}</div>'
        f'<p class="soft">{text(claim.source)}</p>{image}'
        + table(*_published(claim))
        + table(head, rows)
        + f"<p>{text(_cost(result))}</p>"
        f"<pre>{text(command(claim, result.budget))}</pre>"
    )
    return Section(claim.name, body)


def _published(claim: Claim) -> tuple[list[str], list[list[str]]]:
    rows = [
        [one.what, one.value, one.where, "yes" if one.checked else "no"]
        for one in claim.published
    ]
    return ["published", "value", "where", "compared with the text"], rows


def _measured(findings: Iterable[Finding]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in findings:
        low, high = map(shown, one.interval)
        bound = f"{one.contrast.direction} {shown(one.contrast.threshold)}"
        rows.append(
            [one.contrast.meaning, bound, shown(one.effect), f"{low} to {high}"]
            + [one.verdict]
        )
    return ["statistic", "claimed", "measured", "95% interval", "verdict"], rows


def _cost(result: Reproduction) -> str:
    setting = dict(result.claim.budgets)[result.budget]
    told = (
        f"{result.verdict.seeds} seeds ({setting.unit}), {result.seconds:,.0f} s of "
        f"measuring."
    )
    if setting.trainings:
        told += f" {len(setting.trainings)} trainings for each seed before that."
    told += f" Tried before the setting was fixed: {result.claim.tried}."
    if result.claim.remark:
        told += f" Beside the verdict: {result.claim.remark}."
    if result.claim.revised:
        told += f" The statistic was changed after a result: {result.claim.revised}."
    return told


def publish(results: Sequence[Reproduction], source: Path, docs: Path) -> None:
    """Puts results into the documentation: its table, its figures, and its page.

    Args:
        results: They replace those of the same claims and budgets.
        source: The folder that has the claims' own.
        docs: The folder of the documentation.
    """
    replaced = {(one.claim.name, one.budget) for one in results}
    kept: list[dict[str, Any]] = [
        row
        for row in read_rows(docs / TABLE)
        if (row["claim"], row["budget"]) not in replaced
    ]
    (docs / TABLE).parent.mkdir(parents=True, exist_ok=True)
    (docs / "figures").mkdir(exist_ok=True)
    for one in results:
        for seed, effects in enumerate(one.effects):
            kept += [
                {
                    "claim": one.claim.name,
                    "budget": one.budget,
                    "version": one.claim.version(one.budget),
                    "seconds": one.seconds,
                    "seed": seed,
                    "effect": name,
                    "value": f"{value:.6g}",
                }
                for name, value in effects.items()
            ]
        picture = source / one.claim.name / one.budget / "figure.png"
        with files.replacing(docs / figure_of(one)) as temporary:
            temporary.write_bytes(picture.read_bytes())
    order = list(CLAIMS)
    kept.sort(key=lambda row: (order.index(row["claim"]), BUDGETS.index(row["budget"])))
    write_rows(docs / TABLE, kept)
    files.write_text(docs / "reproduction.md", reproduction(read_results(docs)))


def figure_of(result: Reproduction) -> str:
    """Returns where the documentation has a result's figure."""
    return f"figures/{result.claim.name}_{result.budget}.png"


def read_results(docs: Path) -> list[Reproduction]:
    """Returns the published results, without those of an older version of a setting."""
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for row in read_rows(docs / TABLE):
        claim, key = CLAIMS.get(row["claim"]), (row["claim"], row["budget"])
        if claim and row["budget"] in dict(claim.budgets):
            if claim.version(row["budget"]) != row["version"]:
                continue
            seeds = found.setdefault(key, {})
            seeds.setdefault(int(row["seed"]), {})[row["effect"]] = float(row["value"])
            seconds[key] = float(row["seconds"])
    return [
        Reproduction(CLAIMS[key[0]], key[1], tuple(seeds.values()), seconds[key])
        for key, seeds in found.items()
    ]


def reproduction(results: Sequence[Reproduction]) -> str:
    """Returns docs/reproduction.md: the verdicts, then each claim.

    Args:
        results: What came of the claims.
    """
    lines = [
        "# Reproduction",
        "",
        f"Made by `python -m pipelines.reproduce --publish=docs` of `docs/{TABLE}`; "
        "how to run it: [experiments.md](experiments.md).",
        "",
        *_markdown(
            ["claim", "verdict", "budget", "seeds"],
            [
                [f"[{one.claim.name}](#{one.claim.name})", one.verdict.verdict]
                + [one.budget, str(one.verdict.seeds)]
                for one in results
            ],
        ),
    ]
    for one in results:
        claim = one.claim
        lines += [
            "",
            f"## {claim.name}",
            "",
            f"{claim.sentence} ({claim.source})",
            "",
            f"**{one.verdict.verdict}** at the budget {one.budget}.",
            "",
            f"![{claim.sentence}]({figure_of(one)})",
            "",
            *_markdown(*_published(claim)),
            "",
            *_markdown(*_measured(one.verdict.findings)),
            "",
            _cost(one),
            "",
            f"    {command(claim, one.budget)}",
        ]
    return "\n".join(lines) + "\n"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
