"""Requests to an API server that answers as a test says."""

from collections.abc import AsyncIterator, Awaitable, Callable

import kopf
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocelot_operator.kubernetes import (
    MAX_ANSWER_BYTES,
    MAX_SECRETS_BYTES,
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
    for most, ask in (
        (MAX_SECRETS_BYTES, lambda at: at.secrets("team", label="a", value="b")),
        (MAX_ANSWER_BYTES, lambda at: at.tenant("team", "acme")),
    ):
        client = await serve(web.Response(body=b'{"items": [], "x": "%s"}' % (b"x" * most)))
        with pytest.raises(KubernetesError, match=f"more than {most} bytes"):
            await ask(client)
    assert MAX_SECRETS_BYTES <= 1024 * 1024
    assert MAX_ANSWER_BYTES <= 4 * 1024 * 1024


async def test_what_nobody_reads_in_an_object_is_not_decoded(serve: Serve) -> None:
    """Decoded, many short labels take twelve times their bytes."""
    labels = {f"{number:x}": "" for number in range(40_000)}
    metadata = {
        "name": "acme",
        "uid": "u",
        "labels": labels,
        "annotations": labels,
        "managedFields": [{"fieldsV1": {f"f:{name}": {} for name in labels}}],
    }
    tenant = {"kind": "Tenant", "metadata": metadata, "spec": {"a": [1]}}
    client = await serve(web.Response(body=msgspec.json.encode(tenant)))
    assert await client.tenant("team", "acme") == {
        "kind": "Tenant",
        "metadata": {"name": "acme", "uid": "u"},
        "spec": {"a": [1]},
    }


async def test_secrets_are_read_with_their_labels(serve: Serve) -> None:
    labels = {"ocelot.dev/tenant-uid": "u"}
    secret = {"metadata": {"name": "app", "labels": labels, "annotations": {"a": "b"}}}
    client = await serve(web.json_response({"metadata": {}, "items": [secret]}))
    [found] = await client.secrets("team", label="ocelot.dev/tenant-uid", value="u")
    assert found == {"metadata": {"name": "app", "labels": labels}}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"metadata": []}', b'{"items": {}}', b'{"items": [1]}', b'{"a": 1}{}']
)
async def test_an_answer_of_another_form_is_an_empty_object(serve: Serve, body: bytes) -> None:
    client = await serve(web.Response(body=body))
    assert await client.tenant("team", "acme") in ({}, {"items": [{}]})


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
