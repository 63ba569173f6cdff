"""What answers have taught about models: how far estimates are off, how long they talk."""

from __future__ import annotations

import math
from dataclasses import dataclass

MODELS = 4096  # are remembered; of more, those that were asked longest ago are forgotten
FIRST_OUTPUT = 500  # tokens, of a model that has not answered yet

_LATEST = 50  # answers, of which a figure is roughly the mean
_LEAST, _MOST = 0.25, 4.0  # what an estimate may be off by
_TELLING = 500  # tokens; shorter prompts are mostly what a model's template adds
_LONGEST = 100_000  # tokens of one answer that count


@dataclass(slots=True)
class _Learnt:
    """`ratio` is tokens that went in by those estimated, `weight` what it rests on, in answers."""

    ratio: float = 1.0
    weight: float = 1.0
    output: float = 0.0
    answers: int = 0


class Calibration:
    """Means of the latest answers per model, of which no single one moves them far."""

    __slots__ = ("_learnt",)

    def __init__(self) -> None:
        self._learnt: dict[str, _Learnt] = {}  # the model asked last stands last

    def observe(self, model: str, estimated: int, input_total: int, output_total: int) -> None:
        """An answer's true tokens, beside the estimate of its prompt."""
        learnt = self._learnt.pop(model, None) or _Learnt()
        self._learnt[model] = learnt
        if len(self._learnt) > MODELS:
            del self._learnt[next(iter(self._learnt))]
        if estimated > 0 and input_total > 0:
            ratio = min(max(input_total / estimated, _LEAST), _MOST)
            telling = min(estimated / _TELLING, 1.0)
            learnt.weight = min(learnt.weight + telling, _LATEST)
            learnt.ratio += (ratio - learnt.ratio) * telling / learnt.weight
        learnt.answers = min(learnt.answers + 1, _LATEST)
        output = min(max(output_total, 0), _LONGEST)
        learnt.output += (output - learnt.output) / learnt.answers

    def input(self, model: str, estimated: int) -> int:
        """The tokens of a prompt, from what was estimated without knowing the model."""
        learnt = self._learnt.get(model)
        return estimated if learnt is None else math.ceil(estimated * learnt.ratio)

    def usual_output(self, model: str) -> int:
        """Tokens of the model's usual answer, at least 1."""
        learnt = self._learnt.get(model)
        return FIRST_OUTPUT if learnt is None else max(1, math.ceil(learnt.output))
