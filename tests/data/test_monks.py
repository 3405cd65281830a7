"""The MONK's files against the checksums of the published ones; inputs, rules and noise against their definitions."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from strongticket.data import DataError
from strongticket.data._bytes import md5
from strongticket.data.monks import MONKS, MONKS_INPUTS, monks, monks_file, write_monks

PUBLISHED = {
    "monks-1.train": "fc1fc3a673e00908325c67cf16283335",
    "monks-1.test": "de4255acb72fb29be5125a7c874e28a0",
    "monks-2.train": "f109ee3f95805745af6cdff06d6fbc94",
    "monks-2.test": "106cb9049ba5ccd7969a0bd5ff19681d",
    "monks-3.train": "613e44dbb8ffdf54d364bd91e4e74afd",
    "monks-3.test": "46815731e31c07f89422cf60de8738e7",
}


def test_the_six_files_are_the_published_ones(tmp_path: Path) -> None:
    written = write_monks(tmp_path)
    assert {path.name: md5(path.read_bytes()) for path in written} == PUBLISHED


@pytest.mark.parametrize(
    ("problem", "sizes"), [("monks-1", (124, 62, 216)), ("monks-2", (169, 64, 142)), ("monks-3", (122, 60, 228))]
)
def test_sizes_and_positives(problem: str, sizes: tuple[int, int, int]) -> None:
    train, test = monks(problem)  # type: ignore[arg-type]
    assert (len(train.labels), int(train.labels.sum()), int(test.labels.sum())) == sizes
    assert test.attributes.tolist() == [
        list(row) for row in itertools.product((1, 2, 3), (1, 2, 3), (1, 2), (1, 2, 3), (1, 2, 3, 4), (1, 2))
    ]
    assert np.array_equal(test.ids, np.arange(1, 433))
    assert bool((np.diff(train.ids) > 0).all())
    assert np.array_equal(train.attributes, test.attributes[train.ids - 1])


def test_noise_is_six_labels_of_the_third_problem() -> None:
    for problem in MONKS:
        train, test = monks(problem)
        wrong = train.ids[train.labels != test.labels[train.ids - 1]]
        assert wrong.tolist() == ([5, 61, 203, 213, 214, 391] if problem == "monks-3" else [])


def test_one_input_for_each_value() -> None:
    train, test = monks("monks-2")
    inputs = test.inputs()
    assert inputs.shape == (432, MONKS_INPUTS)
    assert set(np.unique(inputs)) == {0.0, 1.0}
    assert bool((inputs.sum(axis=1) == 6).all())
    starts = np.cumsum([0, 3, 3, 2, 3, 4])
    for row, attributes in zip(train.inputs(), train.attributes, strict=True):
        assert np.flatnonzero(row).tolist() == (starts + attributes - 1).tolist()


def test_others_are_refused() -> None:
    with pytest.raises(DataError, match="monks-1"):
        monks("monks-4")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'train' or 'test'"):
        monks_file("monks-1", "validation")  # type: ignore[arg-type]


def test_files_go_to_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="existing folder"):
        write_monks(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert len(write_monks(tmp_path)) == 6
