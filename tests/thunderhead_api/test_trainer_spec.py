"""``spec.trainer`` against the Trainer itself: the same names, and a word for every argument that a job cannot give."""

from __future__ import annotations

import inspect

from thunderhead import Trainer
from thunderhead_api.hints import REFUSED_KEY
from thunderhead_api.trainer import TrainerSpec

NO_VALUES_OF_A_FILE = {"profiler", "plugins"}


def trainer_arguments() -> set[str]:
    return set(inspect.signature(Trainer).parameters) - {"self", "job"}


def test_every_field_is_an_argument_of_the_trainer() -> None:
    assert set(TrainerSpec.model_fields) <= trainer_arguments()


def test_every_argument_of_the_trainer_is_a_field_or_refused_with_advice() -> None:
    refused = set(TrainerSpec.model_json_schema()[REFUSED_KEY])
    assert trainer_arguments() - set(TrainerSpec.model_fields) == refused | NO_VALUES_OF_A_FILE


def test_what_is_left_out_is_left_to_the_trainer() -> None:
    assert TrainerSpec().model_dump(exclude_none=True) == {"callbacks": []}
