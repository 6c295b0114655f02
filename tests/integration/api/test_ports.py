"""What is on which port, whose address is logged, and what caches and browsers may do."""

import asyncio
import json
import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
import pytest_asyncio

from ocelot_devstack.errors import DevstackError
from ocelot_devstack.probes import http_status

pytestmark = [pytest.mark.mongodb, pytest.mark.sqs, pytest.mark.opensearch]

LOGS = "/api/v1/logs"
EVENT = b'{"action":"document.update","actor":{"id":"user-17"}}'
JSON = {"Content-Type": "application/json"}
PROBES = ("/healthz", "/readyz", "/metrics", "/version")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def access(running: Any) -> Any:
    return await running.tenant()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxied(start_api: Any, closed_port: str) -> Any:
    """An api that trusts this machine as a proxy, and whose SQS is away."""
    return await start_api(
        OCELOT_TRUSTED_PROXIES="127.0.0.0/8, ::1",
        AWS_ENDPOINT_URL_SQS=f"http://{closed_port}",
        SQS_QUEUE_URL=f"http://{closed_port}/000000000000/q",
    )


class TestPorts:
    """Clients on one, the platform on the other."""

    @pytest.mark.parametrize("path", PROBES)
    async def test_the_port_for_clients_has_no_probes(self, running: Any, access: Any, path: str):
        for headers in ({}, access.admin):
            for method in ("GET", "POST"):
                answer = await running.http.request(method, path, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")
            assert (await running.http.head(path, headers=headers)).status_code == 404

    @pytest.mark.parametrize("path", ["/", LOGS, "/.well-known/jwks.json", "/api/v1/docs"])
    async def test_the_port_of_the_probes_has_nothing_for_clients(
        self, running: Any, access: Any, path: str
    ):
        answer = await running.http.get(f"{running.api.probes_url}{path}", headers=access.admin)
        assert answer.status_code == 404

    async def test_every_process_answers_the_same_probes(self, running: Any):
        processes: dict[str, Any] = {}
        for process in running.stack.services:  # other tests start more apis after the first
            processes.setdefault(process.spec.name, process)
        assert set(processes) == {"api", "consumer", "indexer", "jobs"}
        for name, process in processes.items():
            url = process.probes_url
            assert (await running.http.get(f"{url}/healthz")).json() == {"status": "ok"}
            for _ in range(600):  # a busy machine may keep a worker from its registry for a while
                ready = await running.http.get(f"{url}/readyz")
                if ready.status_code == 200:
                    break
                await asyncio.sleep(0.1)
            assert ready.json() == {"status": "ready", "causes": {}}
            version = (await running.http.get(f"{url}/version")).json()
            assert version["service"] == name
            assert re.fullmatch(r"\d+\.\d+\.\d+", version["version"])
            metrics = (await running.http.get(f"{url}/metrics")).text
            assert f'service="{name}",version="{version["version"]}"}} 1.0' in metrics
            if name != "api":
                with pytest.raises(DevstackError, match="no port for clients"):
                    assert process.url

    async def test_probes_are_answered_until_the_process_ends(self, start_api: Any, access: Any):
        """A request that is under way keeps the process while it drains."""
        http = await start_api()
        process = http.process
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        head = (
            f"POST {LOGS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {access.writer['Authorization']}\r\n"
            f"Content-Length: {len(EVENT)}\r\n\r\n"
        )
        writer.write(head.encode() + EVENT[:10])
        for _ in range(100):
            metrics = (await http.get(f"{process.probes_url}/metrics")).text
            if "ocelot_api_body_budget_used_bytes 0.0" not in metrics:
                break  # the request is in the process
            await asyncio.sleep(0.1)
        stopping = asyncio.create_task(process.stop(60))
        for _ in range(10):
            await asyncio.sleep(0.1)
            assert await http_status(f"{process.probes_url}/healthz", timeout_sec=10) == 200
        writer.write(EVENT[10:])
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 202 ")
        writer.close()
        assert await stopping, "the process had to be killed"
        assert await http_status(f"{process.probes_url}/healthz") is None


class TestClientAddresses:
    """In the log line of each refusal."""

    async def refused(self, http: Any, request_id: str) -> dict[str, Any]:
        """The line about a request; the process writes it before or just after the answer."""
        for _ in range(100):
            lines = [
                json.loads(line)
                for line in http.process.log_path.read_text().splitlines()
                if request_id in line
            ]
            if lines:
                (line,) = [each for each in lines if each["event"] == "request_refused"]
                return line
            await asyncio.sleep(0.1)
        pytest.fail(f"no line about {request_id}")

    async def test_behind_a_trusted_proxy_it_is_the_clients(self, proxied: Any, access: Any):
        chain = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7, 127.0.0.9"}
        answer = await proxied.get(LOGS, headers=chain | {"X-Request-ID": "p-401"})
        assert answer.status_code == 401
        line = await self.refused(proxied, "p-401")
        assert line["client"] == "203.0.113.7"
        assert (line["status"], line["code"]) == (401, "token_missing")
        assert (line["route"], line["tenant"]) == (LOGS, None)
        assert line["level"] == "warning"

        headers = access.reader | chain | {"X-Request-ID": "p-403"}
        assert (await proxied.post(LOGS, content=EVENT, headers=headers | JSON)).status_code == 403
        line = await self.refused(proxied, "p-403")
        assert (line["client"], line["tenant"]) == ("203.0.113.7", access.tenant.id)
        assert (line["status"], line["code"]) == (403, "insufficient_scope")

        headers = access.writer | chain | {"X-Request-ID": "p-503"}
        assert (await proxied.post(LOGS, content=EVENT, headers=headers | JSON)).status_code == 503
        line = await self.refused(proxied, "p-503")
        assert (line["client"], line["tenant"]) == ("203.0.113.7", access.tenant.id)
        assert (line["status"], line["code"]) == (503, "queue_unavailable")

    async def test_from_anybody_else_the_header_is_not_believed(self, running: Any, start_api: Any):
        http = await start_api()
        for number in range(3):
            await http.get(
                LOGS, headers={"X-Forwarded-For": "203.0.113.7", "X-Request-ID": f"s-{number}"}
            )
            assert (await self.refused(http, f"s-{number}"))["client"] == "127.0.0.1"

    async def test_no_token_and_no_control_character_reaches_the_log(self, proxied: Any):
        raw = (
            b"GET %b?token=s3cret HTTP/1.1\r\nHost: x\r\nX-Request-ID: c-1\r\n"
            b"Authorization: Bearer s3cret\r\nX-Forwarded-For: 203.0.113.7, 1.2.3.4\x1b[31m\xff\r\n"
            b"Connection: close\r\n\r\n"
        ) % LOGS.encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxied.process.port)
        writer.write(raw)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        log = proxied.process.log_path.read_bytes()
        if answer.startswith(b"HTTP/1.1 401 "):  # the parser took it
            assert (await self.refused(proxied, "c-1"))["client"] == "127.0.0.1"
            log = proxied.process.log_path.read_bytes()
        else:
            assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"s3cret" not in log
        assert b"\x1b" not in log

    async def test_what_is_answered_is_not_logged(self, start_api: Any, access: Any):
        http = await start_api()
        for number in range(5):
            answer = await http.post(
                LOGS, content=EVENT, headers=access.writer | JSON | {"X-Request-ID": f"ok-{number}"}
            )
            assert answer.status_code == 202
            assert (await http.get(LOGS, headers=access.reader)).status_code == 200
        await http.get(LOGS, headers={"X-Request-ID": "last"})
        await self.refused(http, "last")
        assert http.process.log_path.read_text().count("request_refused") == 1


class TestStoring:
    """Events are not left in caches, nor run by browsers."""

    async def test_no_answer_of_any_documented_operation_may_be_kept(
        self, running: Any, access: Any
    ):
        ids = (await running.post_lines(access, [EVENT] * 2)).json()["ids"]
        await running.until_stored(access.tenant, 2)
        document = (await running.http.get("/api/v1/openapi.json")).json()
        auditor = running.bearer(access.tenant, "admin")
        rebuild = await running.http.post(f"{LOGS}/index/bulk", json={"ids": ids}, headers=auditor)
        real = {"/logs/{id}": ids[0], "/jobs/{id}": rebuild.json()["id"]}
        seen = 0
        for path, operations in document["paths"].items():
            url = path
            for ending, value in real.items():
                if path.endswith(ending):
                    url = path.replace("{id}", value)
            for method, operation in operations.items():
                body = operation.get("requestBody", {}).get("content", {}).get("application/json")
                sent = None
                if body is not None:
                    examples = body["examples"]
                    sent = json.dumps(
                        {"ids": ids} if path.endswith("/index/bulk")
                        else next(iter(examples.values()))["value"]
                    )  # fmt: skip
                    if path.endswith("/search"):
                        sent = "{}"
                for headers in (auditor, {}, auditor | {"Accept-Encoding": "gzip"}):
                    answer = await running.http.request(
                        method.upper(), url, content=sent, headers=headers | JSON
                    )
                    seen += 1
                    where = f"{method} {url}: {answer.status_code}"
                    if headers and "security" in operation:
                        assert answer.status_code < 300, f"{where} {answer.text}"
                    assert answer.headers["x-content-type-options"] == "nosniff", where
                    wanted = "max-age=60" if "jwks" in path else "no-store"
                    assert answer.headers.get_list("cache-control") == [wanted], where
        assert seen >= 3 * 10

    @pytest.mark.parametrize(
        ("method", "url"),
        [
            ("GET", "/nowhere"),
            ("PUT", LOGS),
            ("GET", f"{LOGS}?x=1"),
            ("GET", "/api/v1/openapi.json"),
        ],
    )
    async def test_nor_may_other_answers(self, running: Any, access: Any, method: str, url: str):
        answer = await running.http.request(method, url, headers=access.admin)
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


class TestDocumentation:
    """The page of a running api."""

    async def test_the_page_and_its_files_are_served(self, running: Any):
        page = await running.http.get("/api/v1/docs")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers.get_list("cache-control") == ["no-store"]
        urls = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(urls) == 6
        types = set()
        for url in urls:
            answer = await running.http.get(urljoin("/api/v1/docs", url))
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"
            types.add(answer.headers["content-type"].split(";")[0])
        assert types == {"image/png", "text/css", "text/javascript", "application/json"}

    @pytest.mark.parametrize(
        "path", ["/docs", "/redoc", "/api/v1/docs/oauth2-redirect", "/api/v1/redoc"]
    )
    async def test_the_frameworks_own_pages_do_not_exist(self, running: Any, path: str):
        assert (await running.http.get(path)).status_code == 404

    async def test_the_page_can_be_switched_off_and_the_document_stays(
        self, running: Any, start_api: Any
    ):
        page = await running.http.get("/api/v1/docs")
        http: httpx.AsyncClient = await start_api(OCELOT_API_DOCS="false")
        for url in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
            answer = await http.get(urljoin("/api/v1/docs", url))
            assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")
        assert (await http.get("/api/v1/docs")).status_code == 404
        assert (await http.get("/api/v1/openapi.json")).status_code == 200
