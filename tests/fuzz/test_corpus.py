"""What fuzzing found is read again in every test run, and so are its seeds."""

import pytest

from .kept_inputs import CORPUS, kept_files
from .seeds import MAX_BYTES, seeds_of_targets
from .targets import TARGETS

MAX_CORPUS_BYTES = 300 * 1024


@pytest.fixture(scope="module")
def seeds() -> dict[str, list[bytes]]:
    return seeds_of_targets()


def test_every_target_has_seeds_and_a_corpus(seeds):
    assert seeds.keys() == TARGETS.keys() == {folder.name for folder in CORPUS.iterdir()}


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_was_found_is_read_or_refused(name, seeds):
    target = TARGETS[name]
    outcomes = {target.check(seed) for seed in seeds[name]}
    assert True in outcomes, "no seed is read: fuzzing begins too far out"
    for file in kept_files(name):
        try:
            outcomes.add(target.check(file.read_bytes()))
        except Exception as error:
            error.add_note(str(file))
            raise
    assert False in outcomes, "nothing is refused: fuzzing did not get past the seeds"


def test_the_corpus_is_small():
    assert sum(file.stat().st_size for name in TARGETS for file in kept_files(name)) <= MAX_CORPUS_BYTES
    assert max(len(file.read_bytes()) for name in TARGETS for file in kept_files(name)) <= MAX_BYTES
