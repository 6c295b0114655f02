"""The documentation page: everything from our own origin, and swagger-ui's files unchanged."""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from importlib.resources import files
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from fastapi import FastAPI

from ocelot_api.app import openapi_document
from ocelot_api.docs_page.endpoints import (
    OWN,
    PAGE_PATH,
    POLICY,
    VENDORED,
    Asset,
    docs_router,
    load_assets,
    render_page,
)

PACKAGE = files("ocelot_api.docs_page")
ORIGIN = "https://audit.example"
#: Attributes from which a browser loads, or to which it sends.
LOADING = {"src", "href", "srcset", "action", "formaction", "data", "poster", "manifest", "ping"}


class Links(HTMLParser):
    """What a page loads, and what it runs itself."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.urls += [value or "" for name, value in attrs if name in LOADING]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given) or tag in ("base", "iframe"):
            self.inline.append(tag)
        if tag == "meta" and "http-equiv" in given:
            self.inline.append("http-equiv")


def origins_of_css(text: str) -> set[str]:
    """Where a style sheet loads from: url(…) and @import, without what is in it as data."""
    found = re.findall(r"""url\(\s*['"]?([^'")\s]+)|@import\s+['"]([^'"]+)""", text)
    urls = {first or second for first, second in found}
    return {url for url in urls if not url.startswith("data:")}


def test_the_parsers_of_this_test_find_what_is_foreign():
    links = Links()
    links.feed('<script src="//cdn.example/x.js"></script><a onclick="x">x</a><style>a</style>')
    assert (links.urls, links.inline) == (["//cdn.example/x.js"], ["onclick", "style"])
    sheet = '@import "https://a.example/x"; a{b:url( https://b.example/x )} c{d:url(data:x)}'
    assert origins_of_css(sheet) == {"https://a.example/x", "https://b.example/x"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(docs_router())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as made:
        yield made


class TestOrigins:
    async def test_the_page_loads_from_its_own_origin_alone_and_runs_nothing_inline(
        self, client: httpx.AsyncClient
    ):
        page = await client.get(PAGE_PATH)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        links = Links()
        links.feed(page.text)
        assert links.inline == []
        assert len(links.urls) == 6, "icon, two style sheets, two scripts, the document"
        for url in links.urls:
            assert urlsplit(url).netloc == ""
            assert not url.startswith("/"), "an ingress may serve the page under a prefix"
            target = urljoin(f"{ORIGIN}{PAGE_PATH}", url)
            if not target.endswith("/openapi.json"):
                assert (await client.get(target)).status_code == 200

    def test_style_sheets_load_nothing(self):
        for asset in load_assets():
            if asset.name.endswith(".css"):
                assert origins_of_css(asset.body.decode()) == set(), asset.name

    def test_our_script_asks_its_own_origin_alone_and_switches_the_validator_off(self):
        script = (PACKAGE / "static/page.js").read_text("utf-8")
        assert not re.search(r"https?:|//[a-z0-9]", script)
        assert re.findall(r"\burl\w*:\s*(.+?),?\n", script, re.IGNORECASE) == ['"openapi.json"']
        assert re.search(r"validatorUrl: null\b", script)
        assert re.search(r"queryConfigEnabled: false\b", script)

    def test_the_document_refers_to_itself_alone(self):
        document = openapi_document()
        references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(document)))
        assert references
        assert {ref for ref in references if not ref.startswith("#/")} == set()
        assert "servers" not in document, "requests go to the page's own origin"


class TestPolicy:
    async def test_the_page_has_a_policy_that_allows_no_other_origin(
        self, client: httpx.AsyncClient
    ):
        headers = (await client.get(PAGE_PATH)).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["referrer-policy"] == "no-referrer"
        directives = {name: sources for name, *sources in map(str.split, POLICY.split(";"))}
        assert directives["default-src"] == ["'none'"]
        for name, sources in directives.items():
            assert set(sources) <= {"'none'", "'self'", "data:"}, name
            assert "data:" not in sources or name == "img-src"
        for name in ("base-uri", "form-action", "frame-ancestors"):
            assert directives[name] == ["'none'"]


class TestFiles:
    def test_vendored_files_are_those_of_the_pinned_package(self):
        folder = PACKAGE / "swagger_ui"
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        found = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.iterdir()
            if file.name != "manifest.json"
        }
        assert found == manifest["sha256"]
        assert {"LICENSE", "NOTICE", *VENDORED} <= set(found)
        assert manifest["source"].endswith(f"{manifest['package']}-{manifest['version']}.tgz")

    async def test_browsers_keep_files_for_ever_under_a_path_with_their_digest(
        self, client: httpx.AsyncClient
    ):
        assets = load_assets()
        assert {asset.name for asset in assets} == {*VENDORED, *OWN}
        for asset in assets:
            url = urljoin(PAGE_PATH, asset.path)
            answer = await client.get(url)
            assert answer.content == asset.body
            assert hashlib.sha256(answer.content).hexdigest().startswith(asset.digest)
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            etag = answer.headers["etag"]
            again = await client.get(url, headers={"If-None-Match": etag})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
            other = await client.get(url, headers={"If-None-Match": '"0"'})
            assert other.status_code == 200

    @pytest.mark.parametrize(
        "path",
        [
            "0/swagger-ui.css",
            "{digest}/LICENSE",
            "{digest}/../page.html",
            "{digest}/%2e%2e/page.js",
        ],
    )
    async def test_nothing_else_is_served(self, client: httpx.AsyncClient, path: str):
        digest = load_assets()[0].digest
        answer = await client.get(f"{PAGE_PATH}/{path.format(digest=digest)}")
        assert answer.status_code == 404

    def test_a_file_that_changes_has_another_path(self):
        one, other = (Asset("page.js", digest, "text/javascript", b"") for digest in ("a", "b"))
        assert render_page([one]) != render_page([other])
