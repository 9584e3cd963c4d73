"""GET / and the page's files: complete, small, and closed to anything from elsewhere."""

import re
from html.parser import HTMLParser
from importlib import resources

import pytest

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "webp": "image/webp",
}
FOLDER = resources.files("kohonen_tokenizer.service.http").joinpath("page")
NAMES = sorted(file.name for file in FOLDER.iterdir())


def path_of(name):
    return "/" if name == "index.html" else f"/page/{name}"


class Links(HTMLParser):
    """What a page loads, and whether it holds script or style of its own."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.is_inline = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        self.is_inline |= tag == "style" or (tag == "script" and "src" not in attributes)
        self.is_inline |= any(name == "style" or name.startswith("on") for name in attributes)


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served_as_what_it_is(client, name):
    reply = client.get(path_of(name))
    assert reply.status_code == 200
    assert reply.content == FOLDER.joinpath(name).read_bytes()
    assert reply.headers["content-type"] == MEDIA_TYPES[name.rpartition(".")[2]]
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["index.html", "page.js"])
def test_what_the_browser_has_is_not_sent_again(client, name):
    etag = client.get(path_of(name)).headers["etag"]
    for known in (etag, f'"other", W/{etag}'):
        reply = client.get(path_of(name), headers={"If-None-Match": known})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)
    assert client.get(path_of(name), headers={"If-None-Match": '"other"'}).status_code == 200


def test_files_have_tags_of_their_own(client):
    assert len({client.get(path_of(name)).headers["etag"] for name in NAMES}) == len(NAMES)


def test_the_policy_allows_only_what_the_service_serves(client):
    policy = client.get("/").headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'self'"
    assert "script-src" not in " ".join(policy)
    assert "unsafe" not in " ".join(policy)
    assert "frame-ancestors 'none'" in policy


def test_the_page_has_no_inline_script_and_no_link_elsewhere(client):
    page = Links(client.get("/").text)
    assert not page.is_inline
    links = [link for link in page.links if not link.startswith("data:")]
    # Relative: a proxy may put the page below a prefix.
    assert links == ["page/page.css", "page/page.js", "docs"]
    assert all(client.get(f"/{link}").status_code == 200 for link in links)


def test_every_module_is_there_and_used(client):
    found, new = set(), {"page.js"}
    while new:
        found |= new
        texts = [client.get(path_of(name)).text for name in new]
        new = {name for text in texts for name in re.findall(r'from "\./([^"]+)"', text)} - found
    assert found == {name for name in NAMES if name.endswith(".js")}


def test_no_name_becomes_a_path(client):
    for name in ("", "index.html", "nothing.js", "..%2fapp.py", "%2e%2e/app.py"):
        assert client.get(f"/page/{name}").status_code == 404


def test_the_page_is_small():
    assert sum(len(FOLDER.joinpath(name).read_bytes()) for name in NAMES) <= 44 * 1024
