"""The members of a kind of attack: made by rules from a seed, as many as are asked for.

Knows no kind; each test file has the rules of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Members:
    """The same seed and length make the same members."""

    seed: int
    kind: str
    length: float

    def count(self, usual: int) -> int:
        """As many as usual, times the length that was asked for."""
        return max(1, round(usual * self.length))

    def random(self) -> random.Random:
        return random.Random(f"{self.seed}/{self.kind}")

    def each(self, rules: Sequence[Callable[[random.Random], T]], usual: int) -> Iterator[T]:
        """A member of every rule in turn, until there are `usual` or one of each."""
        dice = self.random()
        for at in range(max(len(rules), self.count(usual))):
            yield rules[at % len(rules)](dice)
