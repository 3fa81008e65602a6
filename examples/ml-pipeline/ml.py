"""The steps of the pipeline, one subcommand each: split, train, evaluate, pick and report.

A step reads the results of earlier steps below ``/inputs/<step>/outputs`` and writes its own below ``/outputs``. It knows nothing
of Bacalhau or Kubernetes: the graph in ``dag.yaml`` alone says which step reads what. Models travel as pickles, so load only those
of runs that you trust.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, classification_report
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

SEED = 20260101
"""Fixes the split and the forest, so that a step run twice gives the same result."""

MODELS: dict[str, Callable[..., ClassifierMixin]] = {
    "forest": lambda **parameters: RandomForestClassifier(random_state=SEED, **parameters),
    "linear": lambda **parameters: make_pipeline(StandardScaler(), LogisticRegression(**parameters)),
    "neighbours": KNeighborsClassifier,
    "vectors": SVC,
}

SHARDS = ("train", "validation", "test")


class Step:
    """The directories of one step."""

    def __init__(self, inputs: Path, outputs: Path) -> None:
        self._inputs = inputs
        self.outputs = outputs

    def result(self, step: str) -> Path:
        """Give the directory with the results of an earlier step."""
        return self._inputs / step / "outputs"

    def shard(self, name: str) -> tuple[Any, Any]:
        """Read the images and the labels of one shard of the data."""
        with numpy.load(self.result("split") / f"{name}.npz") as arrays:
            return arrays["images"], arrays["labels"]

    def write_json(self, name: str, content: object) -> None:
        """Write a result and show it in the log."""
        text = json.dumps(content, indent=2)
        (self.outputs / name).write_text(text + "\n")
        print(text)


def split(step: Step, _: argparse.Namespace) -> None:
    """Divide the handwritten digits into shards of 60, 20 and 20 per cent, each with all ten digits in proportion."""
    digits = load_digits()
    train_images, rest_images, train_labels, rest_labels = train_test_split(
        digits.data, digits.target, train_size=0.6, stratify=digits.target, random_state=SEED
    )
    validation_images, test_images, validation_labels, test_labels = train_test_split(
        rest_images, rest_labels, train_size=0.5, stratify=rest_labels, random_state=SEED
    )
    images = (train_images, validation_images, test_images)
    labels = (train_labels, validation_labels, test_labels)
    for name, shard_images, shard_labels in zip(SHARDS, images, labels, strict=True):
        numpy.savez_compressed(step.outputs / f"{name}.npz", images=shard_images, labels=shard_labels)
    step.write_json("shards.json", {name: len(part) for name, part in zip(SHARDS, labels, strict=True)})


def train(step: Step, options: argparse.Namespace) -> None:
    """Fit one model to the training shard."""
    parameters = dict(options.parameters)
    model = MODELS[options.model](**parameters)
    model.fit(*step.shard("train"))
    joblib.dump(model, step.outputs / "model.joblib")
    step.write_json("model.json", {"model": options.model, "parameters": parameters})


def evaluate(step: Step, options: argparse.Namespace) -> None:
    """Score a trained model on the validation shard, which it has not seen."""
    trained = step.result(options.trained)
    images, labels = step.shard("validation")
    accuracy = accuracy_score(labels, joblib.load(trained / "model.joblib").predict(images))
    description = json.loads((trained / "model.json").read_text())
    step.write_json("score.json", description | {"trained": options.trained, "accuracy": accuracy})


def pick(step: Step, options: argparse.Namespace) -> None:
    """Keep the model with the best score; among equals the first by name."""
    scores = [json.loads((step.result(name) / "score.json").read_text()) for name in options.evaluated]
    ranking = sorted(scores, key=lambda score: (-score["accuracy"], score["model"]))
    shutil.copy(step.result(ranking[0]["trained"]) / "model.joblib", step.outputs)
    step.write_json("ranking.json", ranking)


def report(step: Step, _: argparse.Namespace) -> None:
    """Say how good the picked model is on the test shard, which had no part in training or picking."""
    images, labels = step.shard("test")
    picked = step.result("pick")
    predicted = joblib.load(picked / "model.joblib").predict(images)
    best = json.loads((picked / "ranking.json").read_text())[0]
    step.write_json(
        "report.json",
        {
            "model": best["model"],
            "parameters": best["parameters"],
            "validationAccuracy": best["accuracy"],
            "testAccuracy": accuracy_score(labels, predicted),
            "testImages": len(labels),
        },
    )
    table = classification_report(labels, predicted)
    (step.outputs / "report.txt").write_text(table)
    print(table)


def assignment(text: str) -> tuple[str, Any]:
    """Read a hyper-parameter such as ``C=4``; the value is JSON."""
    name, _, value = text.partition("=")
    return name, json.loads(value)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    command = argparse.ArgumentParser(description="One step of the pipeline.")
    command.add_argument("--inputs", type=Path, default=Path("/inputs"), help="results of earlier steps")
    command.add_argument("--outputs", type=Path, default=Path("/outputs"), help="where this step writes")
    steps = command.add_subparsers(required=True)
    steps.add_parser("split").set_defaults(run=split)
    training = steps.add_parser("train")
    training.add_argument("model", choices=sorted(MODELS))
    training.add_argument("parameters", nargs="*", type=assignment, metavar="NAME=JSON")
    training.set_defaults(run=train)
    evaluating = steps.add_parser("evaluate")
    evaluating.add_argument("trained", help="step that trained the model")
    evaluating.set_defaults(run=evaluate)
    picking = steps.add_parser("pick")
    picking.add_argument("evaluated", nargs="+", help="steps that scored a model")
    picking.set_defaults(run=pick)
    steps.add_parser("report").set_defaults(run=report)
    return command


def main() -> None:
    """Run the step that the command line names."""
    options = parser().parse_args()
    options.run(Step(options.inputs, options.outputs), options)


if __name__ == "__main__":
    main()
