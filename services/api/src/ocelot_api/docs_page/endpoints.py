"""Serve the documentation page and its files under a strict Content-Security-Policy."""

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

PAGE_PATH: Final = "/api/v1/docs"
#: Of swagger-ui-dist, what the page loads; the licences are in the package, but not served.
VENDORED: Final = ("favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css")
OWN: Final = ("page.css", "page.js")
_MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
}
#: Everything comes from this origin; swagger-ui.css holds images as data: URLs.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Asset(NamedTuple):
    """A file of the page.

    Attributes:
        name: of the file.
        digest: of its content; part of its path, so that browsers may keep it for ever.
        media_type: of the response.
        body: the content.
    """

    name: str
    digest: str
    media_type: str
    body: bytes

    @property
    def path(self) -> str:
        """Return the path relative to the page, so that an ingress may add a prefix to both."""
        return f"docs/{self.digest}/{self.name}"


def load_assets() -> list[Asset]:
    """Read the page's files from the package."""
    package = files(__package__)
    vendored, own = package / "swagger_ui", package / "static"
    return [_load(vendored / name) for name in VENDORED] + [_load(own / name) for name in OWN]


def render_page(assets: list[Asset]) -> str:
    """Return the page's HTML with the paths of its files."""
    page = (files(__package__) / "static" / "page.html").read_text("utf-8")
    for asset in assets:
        page = page.replace(f"{{{asset.name}}}", asset.path)
    return page


def docs_router() -> APIRouter:
    """Make the routes of the page and its files; the OpenAPI document does not list them."""
    router = APIRouter()
    assets = load_assets()
    page = render_page(assets)
    by_path = {(asset.digest, asset.name): asset for asset in assets}

    @router.get(PAGE_PATH, include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    @router.get(PAGE_PATH + "/{digest}/{name}", include_in_schema=False)
    async def docs_file(digest: str, name: str, request: Request) -> Response:
        asset = by_path.get((digest, name))
        if asset is None:
            raise HTTPException(404)
        etag = f'"{digest}"'
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": etag}
        if etag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers=headers, media_type=asset.media_type)

    return router


def _load(file: Traversable) -> Asset:
    body = file.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:16]
    return Asset(file.name, digest, _MEDIA_TYPES[file.name.rpartition(".")[2]], body)
