"""Training again gives the weights that are shipped, as far as they decide anything."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.demo.picture import read_png
from deploy.triton.environment import PROJECT

train_digits = pytest.importorskip("deploy.train_digits", reason="needs scikit-learn", exc_type=ImportError)


@pytest.fixture(scope="module")
def split() -> object:
    return train_digits.load_split()


def test_training_again_gives_the_same_accuracy(split: object) -> None:
    models = train_digits.train(split)
    assert train_digits.accuracy(models[1], split) == pytest.approx(322 / 360, abs=1 / 360)
    assert train_digits.accuracy(models[2], split) == pytest.approx(357 / 360, abs=1 / 360)


def test_the_shipped_images_are_those_held_out() -> None:
    split = train_digits.load_split()
    with np.load(PROJECT / "deploy" / "demo" / "held_out.npz") as held_out:
        assert (held_out["images"] == split.held_out_images).all()
        assert (held_out["labels"] == split.held_out_labels).all()
    training = {image.tobytes() for image in split.images}
    (path,) = (PROJECT / "deploy" / "demo").glob("digit_*.png")
    assert read_png(path).tobytes() not in training
    assert any((read_png(path) == image).all() for image in split.held_out_images)
