"""Trains the two versions of the demo's digit model on scikit-learn's bundled digits, and writes what the demo ships.

    python -m deploy.train_digits

Version 1 is logistic regression on 100 images; version 2 is a network with one hidden layer, on all training images and
copies of them that are moved by one pixel. Both run in numpy alone from `weights.npz`. Beside them this writes the
held-out images, which neither version has seen, and one of them as a PNG: a digit that version 1 gets wrong and
version 2 gets right. Training is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from deploy.demo.picture import write_png

Images = npt.NDArray[np.uint8]  # [n, 8, 8], grey, 0 is paper and 255 is ink
Labels = npt.NDArray[np.int64]  # [n], 0 to 9
Layers = Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]  # (weight [in, out], bias [out]) of each

DEPLOY = Path(__file__).resolve().parent
HELD_OUT = 360
FIRST_SEES = 100
HIDDEN = 128
SEED = 0


@dataclass(frozen=True)
class Split:
    """Images and labels for training, and those held out."""

    images: Images
    labels: Labels
    held_out_images: Images
    held_out_labels: Labels


def load_split() -> Split:
    """The bundled digits, of 17 grey levels, as 8-bit grey; the split keeps each digit's share."""
    digits: Any = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    labels = digits.target
    parts = train_test_split(images, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED)
    return Split(images=parts[0], labels=parts[2], held_out_images=parts[1], held_out_labels=parts[3])


def train(split: Split) -> dict[int, Layers]:
    """Version to layers; a hidden layer is followed by a ReLU, the last one by a softmax."""
    linear = LogisticRegression(max_iter=500).fit(_features(split.images[:FIRST_SEES]), split.labels[:FIRST_SEES])
    moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    moved = np.concatenate([np.roll(split.images, move, axis=(1, 2)) for move in moves])
    network = MLPClassifier((HIDDEN,), alpha=0.01, random_state=SEED, max_iter=300)
    network.fit(_features(moved), np.tile(split.labels, len(moves)))
    return {
        1: [_layer(linear.coef_.T, linear.intercept_)],
        2: [_layer(weight, bias) for weight, bias in zip(network.coefs_, network.intercepts_, strict=True)],
    }


def predict(layers: Layers, images: Images) -> Labels:
    """The most probable digit of each image."""
    values: npt.NDArray[Any] = _features(images)
    for index, (weight, bias) in enumerate(layers):
        values = values @ weight + bias
        if index < len(layers) - 1:
            values = np.maximum(values, 0)
    labels: Labels = values.argmax(axis=1)
    return labels


def accuracy(layers: Layers, split: Split) -> float:
    """The share of held-out images that are told right."""
    return float((predict(layers, split.held_out_images) == split.held_out_labels).mean())


def _features(images: Images) -> npt.NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _layer(weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return weight.astype(np.float32), bias.astype(np.float32)


def _write(split: Split, models: dict[int, Layers]) -> None:
    for version, layers in models.items():
        arrays: dict[str, Any] = {
            f"{name}{i}": array for i, layer in enumerate(layers) for name, array in zip("wb", layer, strict=True)
        }
        np.savez_compressed(DEPLOY / "models" / "digits" / str(version) / "weights.npz", **arrays)
    np.savez_compressed(
        DEPLOY / "demo" / "held_out.npz", images=split.held_out_images, labels=split.held_out_labels.astype(np.uint8)
    )
    first, second = (predict(models[version], split.held_out_images) for version in (1, 2))
    hard = int(np.flatnonzero((first != split.held_out_labels) & (second == split.held_out_labels))[0])
    name = f"digit_{split.held_out_labels[hard]}.png"
    for old in (DEPLOY / "demo").glob("digit_*.png"):
        old.unlink()
    write_png(DEPLOY / "demo" / name, split.held_out_images[hard])
    print(f"deploy/demo/{name}: version 1 says {first[hard]}, version 2 says {second[hard]}")


def main() -> None:
    """Train both versions, write them and print their accuracies."""
    split = load_split()
    models = train(split)
    _write(split, models)
    for version, layers in models.items():
        print(f"version {version}: {accuracy(layers, split):.1%} of {HELD_OUT} held-out digits")


if __name__ == "__main__":
    main()
