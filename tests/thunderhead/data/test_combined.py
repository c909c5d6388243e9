"""Several loaders read together."""

from __future__ import annotations

from typing import Any

import pytest

import thunderhead as th
from thunderhead.data.combined import MODES, CombinedLoader


def batches(loader: CombinedLoader) -> list[Any]:
    return [batch for batch, _, _ in loader]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("min_size", [["a", 1], ["b", 2]]),
        ("max_size", [["a", 1], ["b", 2], ["c", None]]),
        ("max_size_cycle", [["a", 1], ["b", 2], ["c", 1]]),
        ("sequential", ["a", "b", "c", 1, 2]),
    ],
)
def test_modes(mode: str, expected: list[Any]) -> None:
    loader = CombinedLoader([Items("a", "b", "c"), Items(1, 2)], mode)
    assert batches(loader) == expected
    assert len(loader) == len(expected)


@pytest.mark.parametrize("loaders", [[[], [1, 2, 3]], [[1, 2, 3], []], {"a": [1], "b": iter([2, 3]), "c": iter([4])}])
def test_what_gives_nothing_cannot_be_repeated(loaders: Any) -> None:
    """An end in silence would be an epoch without the data of the others."""
    with pytest.raises(th.MisconfigurationException, match=r"loader \d \(list\) .* use mode='max_size'|list_iterator"):
        batches(CombinedLoader(loaders, "max_size_cycle"))


def test_where_nobody_gives_anything_there_is_nothing() -> None:
    assert [batches(CombinedLoader([Items(), Items()], mode)) for mode in MODES] == [[], [], [], []]
    assert batches(CombinedLoader([[], [1, 2]], "max_size")) == [[None, 1], [None, 2]]


class Items:
    """A loader of these batches."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@pytest.mark.parametrize(
    ("iterables", "read"),
    [
        ([1, 2], [1, 2]),
        (["a", 2.5], ["a", 2.5]),
        ([[1, 2], [3]], [[1, 3], [2, 3]]),
        ({"a": [1, 2], "b": Items(3)}, [{"a": 1, "b": 3}, {"a": 2, "b": 3}]),
        ([], []),
    ],
    ids=["numbers", "mixed", "several", "in a dict", "nothing"],
)
def test_lists_of_plain_values_are_loaders(iterables: Any, read: list[Any]) -> None:
    """What holds only numbers and strings is no collection of loaders, as in Lightning."""
    assert batches(CombinedLoader(iterables, "max_size_cycle")) == read


def test_structures_are_kept() -> None:
    loader = CombinedLoader({"x": Items(1, 2), "y": [Items(3, 4), Items(5, 6)]}, "min_size")
    assert batches(loader) == [{"x": 1, "y": [3, 5]}, {"x": 2, "y": [4, 6]}]


def test_indices() -> None:
    loader = CombinedLoader([Items("a", "b"), Items("c")], "sequential")
    assert list(loader) == [("a", 0, 0), ("b", 1, 0), ("c", 0, 1)]


@pytest.mark.parametrize(("mode", "length"), [*((mode, 2) for mode in MODES[:3]), ("sequential", 4)])
def test_one_limit_for_all(mode: str, length: int) -> None:
    loader = CombinedLoader([Items(1, 2, 3), Items(4, 5, 6, 7)], mode)
    loader.limits = 2
    assert loader.limits == [2, 2]
    assert len(list(loader)) == length
    assert len(loader) == length


def test_limits_are_as_many_as_loaders() -> None:
    loader = CombinedLoader([Items(1), Items(2)])
    with pytest.raises(ValueError, match=r"limits=\[1\] must be one number or one for each of 2 loaders"):
        loader.limits = [1]
    loader.limits = None
    assert loader.limits is None


def test_limits() -> None:
    loader = CombinedLoader([Items(1, 2, 3), Items(4, 5)], "max_size_cycle")
    loader.limits = [2, 1]
    assert batches(loader) == [[1, 4], [2, 4]]


def test_length_needs_an_iteration() -> None:
    with pytest.raises(RuntimeError, match="call iter"):
        len(CombinedLoader([Items(1)]))


def test_unknown_modes() -> None:
    with pytest.raises(th.MisconfigurationException, match="Did you mean 'max_size'"):
        CombinedLoader([Items(1)], "maxsize")
