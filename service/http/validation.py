"""pydantic's complaints as one line of ours."""

from collections.abc import Mapping, Sequence


def describe_validation(errors: Sequence[Mapping[str, object]]) -> str:
    """The first of `errors`, as pydantic's `errors()` gives them: where, what, and the value given."""
    first = errors[0]
    location = first["loc"]
    assert isinstance(location, tuple)
    name = ".".join(str(part) for part in location if part != "query") or "the request"
    match first["type"]:
        case "missing":
            return f"{name} is missing; see /docs for an example"
        case "extra_forbidden":
            return f"{name[:50]!r} is no parameter here; leave it out, or see /docs for its name"
    return f"{name}: {first['msg']}, not {str(first['input'])[:100]!r}"
