"""Requests to the API server, beside the watch that kopf keeps.

kopf has no public client. Its logins and the connection that they return are public.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import aiohttp
import kopf
import msgspec

Object = dict[str, Any]
Login = Callable[[], kopf.ConnectionInfo]

GROUP: Final = "ocelot.dev"
VERSION: Final = "v1alpha1"
PLURAL: Final = "tenants"
KIND: Final = "Tenant"

_REQUEST_SEC: Final = 15.0
#: One object has at most 1.5 MiB in etcd.
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
#: The token Secrets of a Tenant have less than 200 KiB. Anybody may put its label on more Secrets
#: of its namespace, and decoded, many short names take twelve times their bytes in memory. Several
#: passes read such a list at the same time.
MAX_SECRETS_BYTES: Final = 1024 * 1024
#: What anybody who may write an object can fill, up to the limit of etcd, and nothing here reads.
_UNREAD: Final = frozenset({"annotations", "managedFields"})
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw] | None)


class KubernetesError(Exception):
    """A request to the API server failed.

    Attributes:
        status: HTTP status of the answer; None without an answer.
    """

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(f"{status or 'no answer'}: {reason}")
        self.status = status


class NotFoundError(KubernetesError):
    """The object does not exist."""


class ConflictError(KubernetesError):
    """The object was changed since it was read, or a quota does not allow another one now."""


class ExistsError(KubernetesError):
    """An object of this name exists."""


def log_in(*, settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    """Return the connection of the pod's ServiceAccount, or else of KUBECONFIG.

    Raises:
        kopf.LoginError: there is neither.
    """
    info = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(
        settings=settings
    )
    if info is None:
        raise kopf.LoginError("Neither a ServiceAccount nor a KUBECONFIG was found.")
    return info


class KubernetesClient:
    """The requests that the operator makes; an async context manager.

    Args:
        login: gives the connection, again after an answer 401, since tokens of a ServiceAccount
            end.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._session: aiohttp.ClientSession | None = None
        self._server = ""

    async def __aenter__(self) -> Self:
        """Connect with the first request."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._forget()

    async def require_watch(self) -> None:
        """Return if Tenants of all namespaces can be listed and watched now.

        Raises:
            NotFoundError: the CustomResourceDefinition is not installed.
            KubernetesError: permissions are missing, or the API server does not work.
        """
        path = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
        found = await self.request("GET", path, query={"limit": "1"}, unread={"labels"})
        since = str(found.get("metadata", {}).get("resourceVersion", ""))
        query = {
            "watch": "true",
            "resourceVersion": since,
            "timeoutSeconds": "1",
            # Of no object, as no name is `-`: the events of a second may have more bytes than an
            # answer may.
            "fieldSelector": "metadata.name=-",
        }
        await self.request("GET", path, query=query)

    async def cluster_uid(self) -> str:
        """Return the uid of the namespace `kube-system`, which names the cluster."""
        found = await self.request("GET", "/api/v1/namespaces/kube-system")
        return str(found["metadata"]["uid"])

    async def tenant(self, namespace: str, name: str) -> Object | None:
        """Return a Tenant without its labels, or None."""
        try:
            return await self.request("GET", tenant_path(namespace, name), unread={"labels"})
        except NotFoundError:
            return None

    async def patch_status(self, namespace: str, name: str, patch: Object) -> None:
        """Merge into a Tenant's status (RFC 7396)."""
        await self.request(
            "PATCH",
            f"{tenant_path(namespace, name)}/status",
            body=patch,
            content_type="application/merge-patch+json",
            unread={"labels"},
        )

    async def secret(self, namespace: str, name: str) -> Object | None:
        """Return a Secret, or None."""
        try:
            return await self.request("GET", secret_path(namespace, name))
        except NotFoundError:
            return None

    async def secrets(self, namespace: str, *, label: str, value: str) -> list[Object]:
        """Return the Secrets that have a label.

        Raises:
            KubernetesError: they could not be read, or have more than `MAX_SECRETS_BYTES` together.
        """
        found = await self.request(
            "GET",
            secret_path(namespace),
            query={"labelSelector": f"{label}={value}"},
            max_bytes=MAX_SECRETS_BYTES,
        )
        return list(found.get("items", []))

    async def create_secret(self, secret: Object) -> None:
        """Create a Secret.

        Raises:
            ExistsError: one of this name exists.
        """
        await self.request("POST", secret_path(secret["metadata"]["namespace"]), body=secret)

    async def replace_secret(self, secret: Object) -> None:
        """Replace a Secret; its `resourceVersion` makes the write conditional."""
        metadata = secret["metadata"]
        await self.request("PUT", secret_path(metadata["namespace"], metadata["name"]), body=secret)

    async def delete_secret(self, secret: Object) -> None:
        """Delete a Secret as it was read; another one of its name stays."""
        metadata = secret["metadata"]
        known = {name: metadata[name] for name in ("uid", "resourceVersion")}
        path = secret_path(metadata["namespace"], metadata["name"])
        await self.request("DELETE", path, body={"preconditions": known})

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        max_bytes: int = MAX_ANSWER_BYTES,
        unread: Collection[str] = (),
    ) -> Object:
        """Make one request and return the object of its answer, without annotations and the like.

        Args:
            method: of HTTP.
            path: of the object or the collection.
            query: of the URL.
            body: an object.
            content_type: of the body.
            max_bytes: of the answer.
            unread: more members of the answer's `metadata` that are not decoded.

        Raises:
            NotFoundError: answer 404.
            ExistsError: answer 409 with the reason AlreadyExists.
            ConflictError: another answer 409.
            KubernetesError: another refusal, or no answer.
        """
        for last in (False, True):
            try:
                status, content = await self._ask(
                    method, path, query, body, content_type, max_bytes
                )
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise KubernetesError(None, type(error).__name__) from error
            if status != 401 or last:
                break
            await self._forget()
        answer = _decode(content, _UNREAD.union(unread))
        if status < 300:
            return answer
        reason = str(answer.get("reason", ""))[:100] or "unknown"
        if (status, reason) == (409, "AlreadyExists"):
            raise ExistsError(status, reason)
        kinds = {404: NotFoundError, 409: ConflictError}
        raise kinds.get(status, KubernetesError)(status, reason)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        max_bytes: int,
    ) -> tuple[int, bytes]:
        if self._session is None:
            info = self._login()
            self._server = info.server
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=info.as_ssl_context()),
                headers={**info.as_http_headers(), "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=_REQUEST_SEC),
            )
        url = self._server + path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if data is None else {"Content-Type": content_type}
        async with self._session.request(method, url, data=data, headers=headers) as answer:
            content = bytearray()
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) > max_bytes:
                    raise KubernetesError(
                        answer.status, f"the answer has more than {max_bytes} bytes"
                    )
            return answer.status, bytes(content)

    async def _forget(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
            await asyncio.sleep(0)


def tenant_path(namespace: str, name: str) -> str:
    """Return the path of a Tenant."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{quote(namespace)}/{PLURAL}/{quote(name)}"


def secret_path(namespace: str, name: str = "") -> str:
    """Return the path of a Secret, or of all of a namespace."""
    path = f"/api/v1/namespaces/{quote(namespace)}/secrets"
    return f"{path}/{quote(name)}" if name else path


def _decode(content: bytes | msgspec.Raw, unread: Collection[str]) -> Object:
    """Decode an object, or a list of objects, without some members of their metadata.

    What is not decoded takes no memory beyond the answer's bytes.
    """
    try:
        members = _MEMBERS.decode(content)
        answer: Object = {}
        for name, value in members.items():
            if name == "metadata":
                answer[name] = {
                    each: msgspec.json.decode(part)
                    for each, part in _MEMBERS.decode(value).items()
                    if each not in unread
                }
            elif name == "items":
                answer[name] = [_decode(each, unread) for each in _ITEMS.decode(value) or ()]
            else:
                answer[name] = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return answer
