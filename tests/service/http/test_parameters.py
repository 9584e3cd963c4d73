"""Parameters in the URL, where nothing tells a text from a number but what belongs there."""

import pytest
from pydantic import model_validator
from starlette.requests import Request

from kohonen_tokenizer.service.errors import ParameterError
from kohonen_tokenizer.service.http.parameters import ModelParameters, Parameters, read_url, validate
from kohonen_tokenizer.service.http.routes.map_moves import PerturbParameters
from kohonen_tokenizer.service.http.routes.neighbors import NeighborsParameters


def request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


@pytest.mark.parametrize("name", ["512", "1e5", "-0", "colors"])
def test_a_model_may_have_a_number_for_a_name(name: str) -> None:
    assert read_url(request(f"model={name}"), model=ModelParameters).model == name
    both = read_url(request(f"token=7&model={name}"), model=NeighborsParameters)
    assert (both.token, both.model) == (7, name)


def test_a_number_is_read_as_json_has_it() -> None:
    read = read_url(request("tokens=1&tokens=2&radius=1e0"), model=NeighborsParameters)
    assert (read.tokens, read.radius) == ([1, 2], 1.0)
    for text in ("1_0", "+1", "01", "0x1", "%201", "1.0", "one", ""):
        with pytest.raises(ParameterError, match="token"):
            read_url(request(f"token={text}"), model=NeighborsParameters)


def test_unknown_names_never_reach_the_validation_that_lists_all_of_them() -> None:
    class Unreached(Parameters):
        @model_validator(mode="before")
        @classmethod
        def _fail(cls, values: object) -> object:
            raise AssertionError(values)

    with pytest.raises(ParameterError, match="'a' is no parameter here"):
        validate(Unreached, {"a": 1, "b": 2})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ParameterError, match="offset is missing; give it"):
        validate(PerturbParameters, {"edge": "clamp"})
