"""Files of a multipart/form-data body (RFC 7578), in memory: the body is under the cap already."""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import ImageCountError, MalformedBodyError


def read_files(content: bytes, *, content_type: str, max_files: int) -> list[bytes]:
    """Contents of the files in `content`, in their order; their field names do not matter.

    Raises:
        MalformedBodyError: no boundary, damaged or cut off, no file, or a part that is no file.
        ImageCountError: more than `max_files` files.
    """
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise MalformedBodyError(
            f"Content-Type {content_type[:100]!r} names no boundary; let the HTTP client write this header"
        )
    collector = _FileCollector(max_files=max_files)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.begin_part,
                "on_header_field": collector.add_header_name,
                "on_header_value": collector.add_header_value,
                "on_header_end": collector.end_header,
                "on_headers_finished": collector.end_headers,
                "on_part_data": collector.add_data,
                "on_part_end": collector.end_part,
                "on_end": collector.end,
            },
        )
        parser.write(content)
        parser.finalize()
    except FormParserError as error:
        raise MalformedBodyError(
            f"the multipart body does not parse ({str(error)[:100]}); let the HTTP client write it"
        ) from None
    if not collector.complete:
        raise MalformedBodyError("the multipart body ends before its closing boundary; send all of it")
    if not collector.files:
        raise MalformedBodyError("the multipart body holds no file; send one image file or more")
    return collector.files


class _FileCollector:
    """Receives the parser's events and keeps the files."""

    def __init__(self, *, max_files: int) -> None:
        self.files: list[bytes] = []
        self.complete = False
        self._max_files = max_files
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._chunks: list[bytes] = []

    def begin_part(self) -> None:
        self._disposition = b""
        self._chunks = []

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def end_headers(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        if b"filename" not in parameters:
            name = parameters.get(b"name", b"").decode("utf-8", "replace")[:50]
            raise MalformedBodyError(
                f"part {name!r} of the multipart body is no file; send files only, and parameters in the URL"
            )
        if len(self.files) == self._max_files:
            raise ImageCountError(
                f"the multipart body holds more than {self._max_files} files; send fewer in a request"
            )

    def add_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def end_part(self) -> None:
        self.files.append(b"".join(self._chunks))

    def end(self) -> None:
        self.complete = True
