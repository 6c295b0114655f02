"""SQS clients with the time-outs that their users need."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from ocelot_common.settings import SqsSettings

# aiobotocore makes its clients at run time from service descriptions and has no types for them.
SqsClient = Any

#: AWS limits: entries of a batch call, and seconds of a long poll.
MAX_BATCH_ENTRIES: Final = 10
MAX_WAIT_SEC: Final = 20
#: AWS limit, 14 days: the outage budget of every queue.
RETENTION_SEC: Final = 1_209_600

#: Seconds that one send may take, unless the process's settings say otherwise.
SEND_TIMEOUT_SEC: Final = 1.5
#: Connecting takes one round trip, an answer the work of SQS as well.
_CONNECT_SHARE: Final = 1 / 3

#: botocore would check what this code builds, and write its user agent anew for every call: a
#: fifth of a call's CPU time.
_LEAN: Final = AioConfig(parameter_validation=False, user_agent="ocelot")


def sending_client(
    settings: SqsSettings, *, connections: int = 8, timeout_sec: float = SEND_TIMEOUT_SEC
) -> AbstractAsyncContextManager[SqsClient]:
    """Make a client that gives up early and never repeats by itself; its user knows how.

    Args:
        settings: region, endpoint and keys.
        connections: most connections at once.
        timeout_sec: seconds for connecting (a third) and for the answer (two thirds) together.
    """
    return _client(
        settings,
        AioConfig(
            connect_timeout=timeout_sec * _CONNECT_SHARE,
            read_timeout=timeout_sec * (1 - _CONNECT_SHARE),
            retries={"total_max_attempts": 1},
            max_pool_connections=connections,
        ),
    )


def working_client(
    settings: SqsSettings, *, connections: int = 32
) -> AbstractAsyncContextManager[SqsClient]:
    """A client for workers: long polls, and a repeat where that is safe."""
    return _client(
        settings,
        AioConfig(
            connect_timeout=2.0,
            read_timeout=MAX_WAIT_SEC + 10.0,
            retries={"total_max_attempts": 2, "mode": "standard"},
            max_pool_connections=connections,
        ),
    )


def _client(settings: SqsSettings, config: AioConfig) -> AbstractAsyncContextManager[SqsClient]:
    session = get_session()
    session.register("before-send.sqs", _keep_alive)
    client: AbstractAsyncContextManager[SqsClient] = session.create_client(
        "sqs",
        region_name=settings.aws_region,
        endpoint_url=settings.sqs_endpoint_url,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        config=_LEAN.merge(config),
    )
    return client


def _keep_alive(request: Any, **_: Any) -> None:
    """LocalStack ends connections unless it is asked not to; SQS keeps them in any case."""
    request.headers["Connection"] = "keep-alive"
