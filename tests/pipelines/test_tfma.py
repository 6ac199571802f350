"""Our scores beside those of TensorFlow Model Analysis, where real TFX is installed."""

import numpy as np
import pytest
from google.protobuf import text_format
from predicted import predictions

from pipelines.evaluation.calibration import calibration_error, reliability
from pipelines.evaluation.curves import Curves
from pipelines.evaluation.judgement import Judgement

tfma = pytest.importorskip(
    "tensorflow_model_analysis",
    reason="TFMA does not live beside this TensorFlow (docs/evaluation.md)",
)
CLASSES = 7


def analysed(labels, values, metrics, binarize=""):
    """Returns what TFMA makes of labels and predictions."""
    import pandas
    from tensorflow_model_analysis.proto import config_pb2

    config = text_format.Parse(
        f"""
        model_specs {{ label_key: "label" prediction_key: "prediction" }}
        slicing_specs {{}}
        metrics_specs {{ {metrics} {binarize} }}
        """,
        config_pb2.EvalConfig(),
    )
    frame = pandas.DataFrame({"label": labels, "prediction": list(values)})
    return tfma.analyze_raw_data(frame, config)


def metric(kind, **config):
    said = ", ".join(f'"{key}": {value}' for key, value in config.items())
    return f"metrics {{ class_name: '{kind}' config: '{said}' }}"


@pytest.fixture(scope="module")
def found():
    return predictions(images=2000, classes=CLASSES, sharpness=1.7)


@pytest.fixture(scope="module")
def judgement(found):
    return Judgement.of(found)


def test_errors_precision_and_recall(found, judgement):
    metrics = " ".join(
        (
            metric("Recall", name='"top1"', top_k=1),
            metric("Recall", name='"top5"', top_k=5),
            metric("MultiClassConfusionMatrixAtThresholds", thresholds="[0.0]"),
        )
    )
    probabilities = np.exp(found.logarithms.astype(np.float64))
    ((_, values),) = analysed(found.labels, probabilities, metrics).slicing_metrics
    theirs = values[""]
    for k in (1, 5):
        share = theirs[f"topK:{k}"][f"top{k}"]["doubleValue"]
        assert judgement.scores[f"top{k}_error"] == pytest.approx(1 - share, abs=1e-6)
    (told,) = theirs[""].values()
    (matrix,) = told["multiClassConfusionMatrixAtThresholds"]["matrices"]
    confusion = np.zeros((CLASSES, CLASSES))
    for entry in matrix["entries"]:
        place = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
        confusion[place] = entry["numWeightedExamples"]
    np.testing.assert_array_equal(judgement.metrics.confusion, confusion)
    right, classes = np.diag(confusion), judgement.classes
    np.testing.assert_allclose(classes.precision, right / confusion.sum(0), atol=1e-6)
    np.testing.assert_allclose(classes.recall, right / confusion.sum(1), atol=1e-6)


def test_areas(found):
    # TFMA's areas are of thresholds, here ten for each probability that there is.
    probabilities = np.round(np.exp(found.logarithms.astype(np.float64)), 3)
    ids = f"binarize {{ class_ids {{ values: {list(range(CLASSES))} }} }}"
    metrics = metric("AUC", num_thresholds=10_000)
    told = analysed(found.labels, probabilities, metrics, ids)
    ((_, values),) = told.slicing_metrics
    theirs = [
        values[""][f"classId:{label}"]["auc"]["doubleValue"] for label in range(CLASSES)
    ]
    ours = Curves.of(probabilities, found.labels).auroc
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_calibration(judgement):
    outcomes = judgement.outcomes
    metrics = metric("CalibrationPlot", num_buckets=15, left=0, right=1)
    told = analysed(outcomes.right.astype(float), outcomes.confidences, metrics)
    ((_, plots),) = told.plots
    buckets = plots[""][""]["calibrationHistogramBuckets"]["buckets"]
    gaps = [
        abs(one["totalWeightedLabel"] - one["totalWeightedRefinedPrediction"])
        for one in buckets
    ]
    images = sum(one["numWeightedExamples"] for one in buckets)
    assert images == len(outcomes.labels)
    ours = calibration_error(reliability(outcomes.confidences, outcomes.right))
    assert ours == pytest.approx(sum(gaps) / images, abs=1e-6)
