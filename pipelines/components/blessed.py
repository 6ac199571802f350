"""Whether a version may be pushed: what was found about the model it was made from."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import UserError
from pipelines.evaluation.judgement import Check, Threshold
from pipelines.evaluation.saved import Blessing, Evaluation
from pipelines.runs.folder import run_of
from pipelines.serving.versions import newest, read_made_from

_MEASURED = ("top1_error", "top5_error", "loss")


def blessing_of(source: Path, path: Path, served: Path) -> list[Check]:
    """Returns what a model was asked to be, in an evaluation with a verdict.

    Args:
        source: The folder of a version.
        path: The verdict, or the folder that `python -m pipelines.evaluate` wrote.
        served: The folder it is to be pushed to.

    Raises:
        UserError: If there is no verdict, it is of another model, or of this one beside
            another than is live there.

    Example:

    >>> blessing_of(version, Path("runs/evaluation"), Path("/models/demo"))[0].passed
    True
    """
    path = path / "blessing.json" if path.is_dir() else path
    blessing, said = Blessing.load(path), read_made_from(source)
    model = said.get("model", {})
    calibrated = {**model, "temperature": said.get("temperature")}
    if blessing.models not in ([model], [calibrated]):
        raise UserError(
            f"{path} is of {_other(blessing.models)} than {source} was made from; "
            "evaluate that one"
        )
    live = newest(served)
    answering = read_made_from(live).get("model") if live else None
    if live and blessing.baseline and answering not in (model, *blessing.baseline):
        raise UserError(
            f"{path} compares with {_other(blessing.baseline)} than {live}, which is "
            "live; evaluate again with that one's run as --baseline"
        )
    return blessing.checks


def own_checks(source: Path, thresholds: Sequence[Threshold]) -> list[Check]:
    """Checks what a run's own evaluation found of its model.

    Args:
        source: The folder of a version in the run's.
        thresholds: Of `top1_error`, `top5_error` and `loss`.

    Raises:
        UserError: If there is no such evaluation, or it has not measured something.

    Example:

    >>> own_checks(version, [Threshold.parse("top1_error<=0.25")])
    [Check(passed=True, sentence='top1_error is 0.0871, asked for is at most 0.25')]
    """
    if not thresholds:
        return []
    for threshold in thresholds:
        if threshold.name not in _MEASURED:
            raise UserError(
                f"a run's own evaluation does not tell {threshold.name}, only "
                f"{', '.join(_MEASURED)}; give the --blessing of an evaluation"
            )
    path = run_of(source).evaluation_path
    evaluation = Evaluation.load(path, {"model": read_made_from(source).get("model")})
    if not evaluation:
        raise UserError(
            f"{path} is no evaluation of the model that {source} was made from; give "
            "the --blessing of one that is"
        )
    values = vars(evaluation.metrics)
    return [one.check(one.name, values[one.name]) for one in thresholds]


def _other(models: Sequence[object]) -> str:
    return "another model" if len(models) == 1 else f"{len(models)} other models"
