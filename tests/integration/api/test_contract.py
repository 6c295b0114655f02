"""Every endpoint over real HTTP: what it takes, and what it answers.

How it refuses is in `test_bad_input.py`, where that needs no more than a row.
"""

import asyncio
import gzip
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
import zstandard

from ocelot_common.auth.tokens import mint_token
from ocelot_common.ids import format_id

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS = "/api/v1/logs"
BULK = "/api/v1/logs/bulk"
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
EVENT = {"action": "document.update", "actor": {"id": "user-17"}}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def access(running: Any) -> Any:
    return await running.tenant()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def http(running: Any) -> AsyncIterator[httpx.AsyncClient]:
    yield running.http


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["type"] == f"urn:ocelot:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


async def post(
    http: httpx.AsyncClient, access: Any, content: bytes, url: str = LOGS, **headers: str
) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post(url, content=content, headers=access.writer | JSON | given)


async def by_id(http: httpx.AsyncClient, access: Any, event_id: str) -> Any:
    for _ in range(1_200):
        answer = await http.get(f"{LOGS}/{event_id}", headers=access.reader)
        if answer.status_code != 404:
            return answer.json()
        await asyncio.sleep(0.1)
    pytest.fail("not stored within 20 s")


class TestOne:
    async def test_an_event_is_accepted_with_its_id_and_can_be_read(
        self, http: httpx.AsyncClient, access: Any
    ):
        answer = await post(http, access, json.dumps(EVENT | {"metadata": {"n": 1.0}}).encode())
        assert answer.status_code == 202
        body = answer.json()
        assert list(body) == ["id", "status"]
        assert body["status"] == "accepted"
        assert uuid.UUID(body["id"]).version == 7
        assert answer.headers["location"] == f"{LOGS}/{body['id']}"
        event = await by_id(http, access, body["id"])
        assert event.pop("seq").isdigit()
        assert event.pop("received_at").endswith("Z")
        assert event == {
            "id": body["id"],
            "tenant_id": access.tenant.id,
            "writer": f"writer@{access.tenant.id}",
            **EVENT,
            "metadata": {"n": 1.0},
        }

    async def test_a_clients_id_is_kept_in_lowercase(self, http: httpx.AsyncClient, access: Any):
        given = str(uuid.uuid4())
        answer = await post(http, access, json.dumps(EVENT | {"id": given.upper()}).encode())
        assert answer.json()["id"] == given
        assert (await by_id(http, access, given.upper()))["id"] == given

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    async def test_a_single_event_may_be_compressed(
        self, http: httpx.AsyncClient, access: Any, encoding: str
    ):
        encode = gzip.compress if encoding == "gzip" else zstandard.compress
        raw = encode(json.dumps(EVENT).encode())
        answer = await post(http, access, raw, Content_Encoding=encoding)
        assert answer.status_code == 202

    async def test_another_media_type_or_encoding_is_415(
        self, http: httpx.AsyncClient, access: Any
    ):
        raw = json.dumps(EVENT).encode()
        for kind in ("text/plain", "application/x-ndjson", "application/x-www-form-urlencoded"):
            answer = await http.post(
                LOGS, content=raw, headers=access.writer | {"Content-Type": kind}
            )
            assert_problem(answer, 415, "unsupported_media_type")
        answer = await post(http, access, raw, Content_Encoding="br")
        assert_problem(answer, 415, "unsupported_encoding")
        assert answer.headers["accept-encoding"] == "gzip, zstd"

    async def test_a_parameter_is_refused(self, http: httpx.AsyncClient, access: Any):
        answer = await post(http, access, b"{}", url=f"{LOGS}?atomic=true")
        assert assert_problem(answer, 400, "unknown_parameter")["path"] == "atomic"


ENCODINGS = {"": lambda raw: raw, "gzip": gzip.compress, "zstd": zstandard.compress}
FORMS = {
    "array": (JSON, lambda raws: b"[" + b",".join(raws) + b"]"),
    "object": (JSON, lambda raws: b'{"logs":[' + b",".join(raws) + b"]}"),
    "ndjson": (NDJSON, lambda raws: b"\n".join(raws) + b"\n"),
}


class TestBulk:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("form", FORMS)
    async def test_every_form_in_every_encoding_is_taken_and_stored(
        self, running: Any, form: str, encoding: str
    ):
        access = await running.tenant()
        raws = [json.dumps(EVENT | {"message": str(number)}).encode() for number in range(25)]
        headers, shape = FORMS[form]
        if encoding:
            headers = headers | {"Content-Encoding": encoding}
        content = ENCODINGS[encoding](shape(raws))
        answer = await running.http.post(BULK, content=content, headers=access.writer | headers)
        assert answer.status_code == 202
        body = answer.json()
        assert list(body) == ["accepted", "rejected", "ids", "errors"]
        assert (body["accepted"], body["rejected"], body["errors"]) == (25, 0, [])
        stored = await running.until_stored(access.tenant, 25)
        texts = {format_id(event.id): json.loads(event.text)["message"] for event in stored}
        assert [texts[event_id] for event_id in body["ids"]] == [str(n) for n in range(25)]

    async def test_bad_events_are_named_by_index_and_the_good_ones_taken(
        self, http: httpx.AsyncClient, access: Any
    ):
        good = json.dumps(EVENT).encode()
        lines = [good, b"{", b"", good, b'{"action":"a","actor":{"id":7}}', b"null"]
        answer = await http.post(BULK, content=b"\n".join(lines), headers=access.writer | NDJSON)
        assert answer.status_code == 202
        body = answer.json()
        assert (body["accepted"], body["rejected"]) == (2, 3)
        assert [event_id is None for event_id in body["ids"]] == [False, True, False, True, True]
        assert [(each["index"], each["code"], each["path"]) for each in body["errors"]] == [
            (1, "invalid_json", ""),
            (3, "invalid_type", "actor.id"),
            (4, "invalid_type", ""),
        ]
        assert all(set(each) == {"index", "code", "path", "detail"} for each in body["errors"])

    async def test_every_fault_of_an_event_is_named(self, http: httpx.AsyncClient, access: Any):
        faulty = b'{"action":5,"actor":{},"target":[],"source":{"ip":"testclient"}}'
        body = assert_problem(await post(http, access, faulty), 422, "invalid_type")
        paths = ["action", "actor.id", "source.ip", "target"]
        assert body["path"] == "action"
        assert sorted(each["path"] for each in body["errors"]) == paths
        good = json.dumps(EVENT).encode()
        many = (await post(http, access, b"[%b,%b]" % (good, faulty), url=BULK)).json()
        assert (many["accepted"], many["rejected"]) == (1, 1)
        assert sorted(each["path"] for each in many["errors"]) == paths
        assert {each["index"] for each in many["errors"]} == {1}

    async def test_atomic_takes_all_or_none(self, running: Any):
        access = await running.tenant()
        good = json.dumps(EVENT).encode()
        url = f"{BULK}?atomic=true"
        answer = await post(running.http, access, b"[%b,{},%b]" % (good, good), url=url)
        body = assert_problem(answer, 422, "events_rejected")
        assert (body["accepted"], body["rejected"], body["ids"]) == (0, 3, [None] * 3)
        assert [(each["index"], each["path"]) for each in body["errors"]] == [
            (1, "action"),
            (1, "actor"),
        ]
        assert (await post(running.http, access, b"[%b]" % good, url=url)).status_code == 202
        assert len(await running.until_stored(access.tenant, 1)) == 1

    async def test_422_if_none_is_valid(self, http: httpx.AsyncClient, access: Any):
        body = assert_problem(await post(http, access, b"[{},1]", url=BULK), 422, "events_rejected")
        assert (body["accepted"], body["rejected"], body["ids"]) == (0, 2, [None, None])

    async def test_ten_thousand_events_are_taken(self, running: Any):
        access = await running.tenant()
        raw = json.dumps(EVENT).encode()
        content = gzip.compress(b"[" + b",".join([raw] * 10_000) + b"]")
        answer = await post(running.http, access, content, url=BULK, Content_Encoding="gzip")
        assert answer.json()["accepted"] == 10_000
        assert len(set(answer.json()["ids"])) == 10_000

    async def test_an_unsized_body_is_stopped_when_it_grows_too_large(
        self, http: httpx.AsyncClient, access: Any
    ):
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b" " * (1024 * 1024)

        answer = await http.post(BULK, content=endless(), headers=access.writer | JSON)
        assert_problem(answer, 413, "body_too_large")


class TestIdempotencyKey:
    async def test_a_repeat_stores_nothing_twice_and_gives_the_same_ids(self, running: Any):
        access = await running.tenant()
        raws = [json.dumps(EVENT | {"message": str(n // 2)}).encode() for n in range(20)]
        content = b"[" + b",".join(raws) + b"]"
        key = {"Idempotency_Key": str(uuid.uuid4())}
        answers = [await post(running.http, access, content, url=BULK, **key) for _ in range(3)]
        ids = [answer.json()["ids"] for answer in answers]
        assert ids[0] == ids[1] == ids[2]
        assert len(set(ids[0])) == 20
        # After a marker that was sent last, nothing of the repeats is still on its way.
        marker = await post(running.http, access, json.dumps(EVENT).encode())
        await by_id(running.http, access, marker.json()["id"])
        await running.until_stored(access.tenant, 21)
        await asyncio.sleep(1)
        stored = await running.stored(access.tenant)
        assert sorted(format_id(event.id) for event in stored) == sorted(
            [*ids[0], marker.json()["id"]]
        )

    async def test_a_single_event_under_a_key(self, http: httpx.AsyncClient, access: Any):
        raw = json.dumps(EVENT).encode()
        key = {"Idempotency_Key": "k-1"}
        first, again = [await post(http, access, raw, **key) for _ in range(2)]
        assert first.json()["id"] == again.json()["id"]
        assert uuid.UUID(first.json()["id"]).version == 8


class TestById:
    async def test_an_unknown_id_is_404(self, http: httpx.AsyncClient, access: Any):
        answer = await http.get(f"{LOGS}/{uuid.uuid4()}", headers=access.reader)
        assert_problem(answer, 404, "event_not_found")


class TestSearchParameters:
    async def test_a_plus_in_an_offset_need_not_be_encoded(
        self, http: httpx.AsyncClient, access: Any
    ):
        for offset in ("+02:00", "%2B02:00"):
            url = f"{LOGS}?from=2026-01-01T00:00:00{offset}"
            assert (await http.get(url, headers=access.reader)).status_code == 200


class TestAuthentication:
    @pytest.mark.parametrize(
        ("method", "url"), [("POST", LOGS), ("POST", BULK), ("GET", LOGS), ("GET", f"{LOGS}/x")]
    )
    async def test_without_a_token_it_is_401_with_a_challenge(
        self, http: httpx.AsyncClient, method: str, url: str
    ):
        answer = await http.request(method, url)
        assert_problem(answer, 401, "token_missing")
        assert answer.headers["www-authenticate"] == 'Bearer realm="ocelot"'
        answer = await http.request(method, url, headers={"Authorization": "Bearer nonsense"})
        assert_problem(answer, 401, "token_invalid")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    async def test_a_scope_that_is_missing_is_403(self, http: httpx.AsyncClient, access: Any):
        answer = await http.get(LOGS, headers=access.writer)
        assert_problem(answer, 403, "insufficient_scope")
        answer = await http.post(LOGS, content=b"{}", headers=access.reader | JSON)
        assert_problem(answer, 403, "insufficient_scope")

    async def test_a_token_for_several_tenants_needs_the_header(self, running: Any):
        one, two = await running.tenant(), await running.tenant()
        text = mint_token(
            running.maker.key,
            subject="both",
            tenants=[one.tenant, two.tenant],
            role="admin",
            ttl=timedelta(hours=1),
            issuer="ocelot",
            audience="ocelot",
        )
        headers = {"Authorization": f"Bearer {text}"}
        for each in (one, two):  # the api has surely seen both
            assert (await running.http.get(LOGS, headers=each.reader)).status_code == 200
        assert_problem(await running.http.get(LOGS, headers=headers), 400, "tenant_required")
        picked = headers | {"X-Tenant-ID": two.tenant.id}
        assert (await running.http.get(LOGS, headers=picked)).status_code == 200
        foreign = headers | {"X-Tenant-ID": "acme"}
        assert_problem(await running.http.get(LOGS, headers=foreign), 403, "tenant_forbidden")

    async def test_a_new_tenants_first_requests_are_taken_all_together(self, running: Any):
        access = await running.tenant()
        answers = await asyncio.gather(
            *(running.http.get(LOGS, headers=access.reader) for _ in range(10))
        )
        assert {answer.status_code for answer in answers} == {200}


class TestEveryResponse:
    async def test_carries_the_request_id(self, http: httpx.AsyncClient, access: Any):
        requests = [
            ("GET", "/.well-known/jwks.json"),
            ("GET", "/api/v1/docs"),
            ("GET", "/api/v1/openapi.json"),
            ("GET", LOGS),
            ("GET", f"{LOGS}/{uuid.uuid4()}"),
            ("GET", f"{LOGS}?x=1"),
            ("POST", LOGS),
            ("POST", BULK),
            ("PUT", LOGS),
            ("DELETE", f"{LOGS}/x"),
            ("GET", "/nowhere"),
        ]
        for method, url in requests:
            headers = access.admin | {"X-Request-ID": "r-17"}
            answer = await http.request(method, url, headers=headers)
            assert answer.headers["x-request-id"] == "r-17", url
            answer = await http.request(method, url, headers=access.admin | {"X-Request-ID": "a b"})
            assert uuid.UUID(answer.headers["x-request-id"])

    @pytest.mark.parametrize(
        "url",
        ["/", "/api", "/api/v1", "/api/v2/logs", f"{LOGS}//", f"{BULK}//", f"{LOGS}/a/b", "//"],
    )
    async def test_an_unknown_path_is_404_and_never_a_redirect(
        self, http: httpx.AsyncClient, access: Any, url: str
    ):
        for method in ("GET", "POST"):
            answer = await http.request(method, url, headers=access.admin)
            assert_problem(answer, 404, "route_not_found")

    async def test_a_slash_at_the_end_of_a_path_is_ignored(
        self, http: httpx.AsyncClient, running: Any
    ):
        access = await running.tenant()
        one = await post(http, access, json.dumps(EVENT).encode(), url=f"{LOGS}/")
        many = await post(http, access, json.dumps([EVENT]).encode(), url=f"{BULK}/")
        assert (one.status_code, many.status_code) == (202, 202)
        await running.until_stored(access.tenant, 2)
        url = f"{LOGS}/{one.json()['id']}/"
        assert (await http.get(url, headers=access.admin)).status_code == 200
        assert (await http.get(f"{LOGS}/?limit=1", headers=access.admin)).status_code == 200
        assert_problem(await http.put(f"{LOGS}/", headers=access.admin), 405, "method_not_allowed")

    @pytest.mark.parametrize(
        ("url", "allow"),
        [
            (LOGS, "GET, HEAD, POST"),
            (BULK, "POST"),
            (f"{LOGS}/{uuid.uuid4()}", "GET, HEAD"),
            (f"{LOGS}/search", "POST"),
            ("/.well-known/jwks.json", "GET, HEAD"),
        ],
    )
    async def test_another_method_is_405_and_told_which_are_allowed(
        self, http: httpx.AsyncClient, access: Any, url: str, allow: str
    ):
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "GET", "HEAD"):
            if method in allow:
                continue
            answer = await http.request(method, url, headers=access.admin)
            assert answer.status_code == 405
            assert answer.headers["allow"] == allow
            if method != "HEAD":
                assert_problem(answer, 405, "method_not_allowed")

    async def test_head_answers_as_get_without_content(self, http: httpx.AsyncClient, access: Any):
        for url in ("/.well-known/jwks.json", LOGS, "/api/v1/docs", f"{LOGS}/{uuid.uuid4()}"):
            head = await http.head(url, headers=access.reader)
            get = await http.get(url, headers=access.reader)
            assert head.status_code == get.status_code
            assert head.headers["content-type"] == get.headers["content-type"]
            assert head.content == b""

    @pytest.mark.parametrize("name", ["X-Request-ID", "X-Tenant-ID", "traceparent", "Content-Type"])
    async def test_bytes_of_any_kind_in_headers_are_no_500(
        self, http: httpx.AsyncClient, access: Any, name: str
    ):
        for value in (b"\xff\xfe", "é🦊".encode(), b"\x80", b"'\"<>{}", b"x" * 8_000):
            headers = {key.encode(): text.encode() for key, text in access.admin.items()}
            for method, url in (("GET", LOGS), ("POST", LOGS), ("POST", BULK)):
                answer = await http.request(
                    method, url, content=b"[]", headers=headers | {name.encode(): value}
                )
                assert answer.status_code < 500, (method, url, value)
                assert answer.headers["x-request-id"].isascii()


class TestMeta:
    async def test_the_keys_are_published_without_their_private_part(
        self, http: httpx.AsyncClient, running: Any
    ):
        keys = (await http.get("/.well-known/jwks.json")).json()["keys"]
        assert [key["kid"] for key in keys] == [running.maker.key.kid]
        assert all("d" not in key for key in keys)

    async def test_metrics_name_routes_by_template_and_methods_by_name(
        self, http: httpx.AsyncClient, access: Any, running: Any
    ):
        unknown = uuid.uuid4()
        await http.get(f"{LOGS}/{unknown}", headers=access.reader)
        await http.request("PROPFIND", "/nowhere")
        text = (await http.get(f"{running.api.probes_url}/metrics")).text
        assert str(unknown) not in text
        assert 'route="/api/v1/logs/{id}",status="404"' in text
        assert 'method="other",route="unmatched"' in text

    async def test_the_docs_page_loads_the_document(self, http: httpx.AsyncClient):
        page = await http.get("/api/v1/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "swagger-ui-bundle.js" in page.text
