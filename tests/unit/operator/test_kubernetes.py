"""Requests to an API server that answers as a test says."""

from collections.abc import AsyncIterator, Awaitable, Callable

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocelot_operator.kubernetes import (
    MAX_ANSWER_BYTES,
    ConflictError,
    ExistsError,
    KubernetesClient,
    KubernetesError,
)

Serve = Callable[[web.Response], Awaitable[KubernetesClient]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A function that returns a client of a server with one answer to everything."""
    opened: list[KubernetesClient | TestServer] = []

    async def serve_one(answer: web.Response) -> KubernetesClient:
        async def handle(request: web.Request) -> web.Response:
            await request.read()
            return answer

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        server = TestServer(app)
        await server.start_server()
        login = kopf.ConnectionInfo(server=str(server.make_url("/")).rstrip("/"))
        client = KubernetesClient(lambda: login)
        opened.extend((server, client))
        return client

    yield serve_one
    for each in reversed(opened):
        if isinstance(each, TestServer):
            await each.close()
        else:
            await each.__aexit__(None, None, None)


async def test_the_memory_for_an_answer_is_bounded(serve: Serve) -> None:
    """Whoever may create Secrets decides how many have a Tenant's label."""
    client = await serve(web.Response(body=b'{"items": [], "x": "%s"}' % (b"x" * MAX_ANSWER_BYTES)))
    with pytest.raises(KubernetesError, match="more than 4194304 bytes"):
        await client.secrets("team", label="a", value="b")
    assert MAX_ANSWER_BYTES <= 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("reason", "kind"), [("AlreadyExists", ExistsError), ("Conflict", ConflictError)]
)
async def test_a_quota_that_is_used_up_is_not_an_object_that_exists(
    serve: Serve, reason: str, kind: type[KubernetesError]
) -> None:
    client = await serve(web.json_response({"reason": reason}, status=409))
    with pytest.raises(KubernetesError) as raised:
        await client.create_secret({"metadata": {"namespace": "team", "name": "a"}})
    assert type(raised.value) is kind
