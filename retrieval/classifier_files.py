"""The fitted intent classifier of a run, written and read back.

What was fitted by iterations, or by cross-validation, is stored, for another number of threads would fit it a little otherwise;
all else follows from the train set by sums.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from retrieval.errors import load_or_explain
from retrieval.files import write_bytes
from retrieval.intent_classifier import Fitted, IntentClassifier, fit_classifier
from retrieval.regression import regression_of
from retrieval.run_files import CLASSIFIER
from retrieval.train_set_files import load_train_set

COEFFICIENTS, INTERCEPTS, CLASSES = "regression.coefficients", "regression.intercepts", "regression.classes"
THRESHOLD, WITH_NAMES = "in_scope_threshold", "with_names"


def save_classifier(classifier: IntentClassifier, folder: Path) -> None:
    """Writes what was fitted, beside the train set."""
    regression = classifier.regression
    tensors = {THRESHOLD: np.array([classifier.in_scope_threshold]), WITH_NAMES: np.array([int(classifier.with_names)])}
    if regression is not None:
        tensors |= {COEFFICIENTS: regression.coefficients, INTERCEPTS: regression.intercepts, CLASSES: regression.classes}
    write_bytes(folder / CLASSIFIER, save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))


def load_classifier(folder: Path, encoder: str) -> IntentClassifier:
    """The classifier of a finished run as it was fitted; `encoder` is the name of the one that made its vectors.

    Raises:
        InputProblems: the folder is not one that a run wrote.
        ModelUnavailable: a file of it cannot be read.
    """
    train_set, index = load_train_set(folder, encoder)
    fitted, with_names = load_or_explain(str(folder / CLASSIFIER), lambda: _read(folder / CLASSIFIER))
    return fit_classifier(train_set, with_names=with_names, ticket_index=index, fitted=fitted)


def _read(path: Path) -> tuple[Fitted, bool]:
    tensors = load_file(path)
    regression = None
    if COEFFICIENTS in tensors:
        regression = regression_of(tensors[COEFFICIENTS], tensors[INTERCEPTS], tensors[CLASSES])
    return Fitted(regression, float(tensors[THRESHOLD][0])), bool(tensors[WITH_NAMES][0])
