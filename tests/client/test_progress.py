"""The progress bar, with tqdm and without."""

import io
import re
import sys

import pytest


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


def test_tqdm_shows_the_progress_where_it_is_there(make_client, server, random_images, capsys):
    make_client(server.url, batch_size=8).encode(random_images, progress=True)
    assert re.search(r"encode: 100%.* 70\.0/70\.0 .*images/s", capsys.readouterr().err)


@pytest.mark.usefixtures("without_tqdm")
def test_without_tqdm_a_line_on_the_terminal_does(make_client, server, random_images, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    make_client(server.url, batch_size=8).encode(random_images, progress=True)
    lines = terminal.getvalue().split("\r")
    assert len(lines) > 2
    assert re.match(r"encode: 70 of 70 images, [\d,]+/s, 0 s left *\n$", lines[-1])


@pytest.mark.usefixtures("without_tqdm")
def test_where_there_is_no_terminal_the_line_comes_once(make_client, server, random_images, capsys):
    list(make_client(server.url, batch_size=8).encode_stream(iter(random_images), progress=True))
    # An iterator does not tell how many there are.
    assert re.fullmatch(r"encode: 70 images, [\d,]+/s *\n", capsys.readouterr().err)


def test_nothing_is_shown_unasked(make_client, server, random_images, capsys):
    make_client(server.url).encode(random_images)
    assert capsys.readouterr().err == ""
