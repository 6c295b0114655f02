"""The installation's keys, made once as Secrets or taken from those that exist."""

from typing import Any

import pytest

from ocelot_common import mongo
from ocelot_common.auth.keys import new_signing_key, read_signing_key, signing_key_pem
from ocelot_common.auth.tokens import TokenVerifier
from ocelot_common.provisioning.queue_keys import record_queue_keys
from ocelot_common.queue.keys import fingerprint, parse_keys
from ocelot_common.registry.model import QueueKeyRow, VerificationKey
from ocelot_common.registry.store import RegistryStore

SYSTEM = "ocelot-system"

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.mongodb,
    pytest.mark.timeout(3_600),
]


@pytest.fixture
async def store(installation: Any) -> Any:
    client = mongo.connect(installation.mongodb_url, app_name="tests")
    yield RegistryStore(client[installation.installation.mongodb_database])
    await client.close()


async def until_log(until: Any, operator: Any, text: str) -> None:
    async def there() -> bool:
        return text in operator.log_tail(100)

    await until(there, what=f"{text!r} in the operator's log")


async def keys_of(cluster: Any, names: Any, secret_texts: Any) -> tuple[str, str]:
    signing = secret_texts(await cluster.until_secret(SYSTEM, names.signing))
    queue = secret_texts(await cluster.until_secret(SYSTEM, names.queue))
    return signing["signing-key.pem"], queue["queue-keys"]


async def test_keys_are_made_once_and_recorded(
    cluster: Any, start: Any, store: Any, names: Any, secret_texts: Any
):
    operator = await start(OCELOT_CLUSTER_ID="")  # it asks for the uid of kube-system
    await operator.wait_ready(180)

    signing, queue = await keys_of(cluster, names, secret_texts)
    kid = read_signing_key(signing.encode(), where="the Secret").kid
    assert [row.kid for row in await store.since(VerificationKey, 0)] == [kid]
    (key,) = parse_keys(queue)
    (row,) = await store.since(QueueKeyRow, 0)
    assert (row.kid, row.sha256) == (key.kid, fingerprint(key))

    await operator.stop()
    await operator.start()
    await operator.wait_ready(180)
    assert await keys_of(cluster, names, secret_texts) == (signing, queue)


async def test_the_administrators_token_is_for_all_tenants_and_comes_back(
    cluster: Any, start: Any, store: Any, names: Any, secret_texts: Any
):
    operator = await start()
    await operator.wait_ready(180)
    secret = await cluster.until_secret(SYSTEM, names.admin)
    rows = {row.kid: row for row in await store.since(VerificationKey, 0)}
    verifier = TokenVerifier(rows.get, issuer="ocelot", audience="ocelot")
    claims = verifier.verify(secret_texts(secret)["token"])
    assert (claims.tenants, claims.role) == ("*", "installation-admin")
    assert claims.exp - claims.iat == 3_600

    await cluster.delete_secret(SYSTEM, names.admin)
    again = await cluster.until_secret(SYSTEM, names.admin)
    assert again["metadata"]["uid"] != secret["metadata"]["uid"]


async def test_keys_that_exist_are_taken_and_not_changed(
    cluster: Any, start: Any, store: Any, names: Any, secret_texts: Any
):
    pem = signing_key_pem(new_signing_key()).decode()
    line = f"# mine\nq1:{'A' * 43}=\n"
    made = [
        await cluster.make_secret(SYSTEM, names.signing, stringData={"signing-key.pem": pem}),
        await cluster.make_secret(SYSTEM, names.queue, stringData={"queue-keys": line}),
    ]
    create = {"OCELOT_CREATE_SIGNING_KEY": "false", "OCELOT_CREATE_QUEUE_KEYS": "false"}
    operator = await start(**create)
    await operator.wait_ready(180)

    assert await keys_of(cluster, names, secret_texts) == (pem, line)
    for before in made:
        after = await cluster.secret(SYSTEM, before["metadata"]["name"])
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert [row.kid for row in await store.since(QueueKeyRow, 0)] == ["q1"]


async def test_a_missing_secret_is_not_made_where_that_is_not_wanted(
    until: Any, cluster: Any, start: Any, names: Any
):
    operator = await start(OCELOT_CREATE_QUEUE_KEYS="false")
    await until_log(until, operator, f"The Secret {names.queue} is missing")

    await cluster.make_secret(SYSTEM, names.queue, stringData={"queue-keys": f"q1:{'A' * 43}="})
    await operator.wait_ready(180)


async def test_a_lost_secret_is_not_replaced_by_a_new_key(
    until: Any,
    cluster: Any,
    start: Any,
    names: Any,
    secret_texts: Any,
):
    """A new queue key would leave messages unread."""
    operator = await start()
    await operator.wait_ready(180)
    _, queue = await keys_of(cluster, names, secret_texts)
    await operator.stop()
    await cluster.delete_secret(SYSTEM, names.queue)

    await operator.start()
    await until_log(until, operator, "the registry has keys already")
    assert await cluster.secret(SYSTEM, names.queue) is None

    await cluster.make_secret(SYSTEM, names.queue, stringData={"queue-keys": queue})
    await operator.wait_ready(180)


async def test_a_secret_that_holds_something_else_is_not_overwritten(
    until: Any, cluster: Any, start: Any, names: Any
):
    before = await cluster.make_secret(SYSTEM, names.queue, stringData={"queue-keys": "s3cr3t"})
    operator = await start()

    await until_log(until, operator, "operator_waits")
    after = await cluster.secret(SYSTEM, names.queue)
    assert after["data"] == before["data"]
    assert "s3cr3t" not in operator.log_tail(1_000)


async def test_two_operators_that_start_together_agree_on_the_keys(
    cluster: Any, start: Any, store: Any, names: Any, secret_texts: Any
):
    operators = [await start() for _ in range(2)]
    for operator in operators:
        await operator.wait_ready(180)

    signing, queue = await keys_of(cluster, names, secret_texts)
    kid = read_signing_key(signing.encode(), where="the Secret").kid
    assert [row.kid for row in await store.since(VerificationKey, 0)] == [kid]
    assert await record_queue_keys(store, parse_keys(queue)) == []


async def test_the_log_names_a_new_signing_key_that_must_wait(
    until: Any, cluster: Any, start: Any, names: Any
):
    """Until the key is 60 s old, an operator that starts cannot sign."""
    operator = await start()
    await operator.wait_ready(180)
    key = new_signing_key()
    pem = signing_key_pem(key).decode()
    await cluster.patch_secret(SYSTEM, names.signing, {"stringData": {"signing-key.pem": pem}})

    await until_log(until, operator, "signing_key_waits")
    waits = [line for line in operator.log_tail(1_000).splitlines() if "signing_key_waits" in line]
    assert len(waits) == 1
    assert key.kid in waits[0]
