"""The operator's settings."""

import hashlib
from typing import Annotated

from pydantic import Field

from ocelot_common.settings import (
    BaseUrl,
    ProbesSettings,
    ProvisioningSettings,
    TelemetrySettings,
    TokenSettings,
)
from ocelot_operator.resource import OBJECT_NAME

_Name = Annotated[str, Field(max_length=253, pattern=rf"^{OBJECT_NAME}$")]


class OperatorSettings(ProvisioningSettings, TokenSettings, TelemetrySettings, ProbesSettings):
    """Environment variables of the operator."""

    api_url: BaseUrl = Field(
        alias="OCELOT_API_URL",
        max_length=2_048,
        description="URL of the api, written into each token Secret.",
    )
    namespace: _Name = Field(
        alias="OCELOT_OPERATOR_NAMESPACE",
        description="Namespace of the operator, which has the Secrets of the keys and of the"
        " administrator's token.",
    )
    cluster_id: str = Field(
        default="",
        alias="OCELOT_CLUSTER_ID",
        pattern=r"^[A-Za-z0-9._-]{0,63}$",
        description="Name of the cluster in the owner on record of each tenant. Never change it. If"
        " not set, the uid of the namespace kube-system.",
    )
    signing_key_secret: _Name = Field(
        default="ocelot-signing-key",
        alias="OCELOT_SIGNING_KEY_SECRET",
        description="Secret whose key `signing-key.pem` has the private key that signs tokens.",
    )
    create_signing_key: bool = Field(
        default=True,
        alias="OCELOT_CREATE_SIGNING_KEY",
        description="Create the Secret of the signing key if it is missing and the registry has no"
        " signing key yet.",
    )
    queue_keys_secret: _Name = Field(
        default="ocelot-queue-keys",
        alias="OCELOT_QUEUE_KEYS_SECRET",
        description="Secret whose key `queue-keys` has the file of the queue keys.",
    )
    create_queue_keys: bool = Field(
        default=True,
        alias="OCELOT_CREATE_QUEUE_KEYS",
        description="Create the Secret of the queue keys if it is missing and the registry has no"
        " queue key yet.",
    )
    admin_token_secret: _Name = Field(
        default="ocelot-admin-token",
        alias="OCELOT_ADMIN_TOKEN_SECRET",
        description="Secret in which the operator keeps a token of the role installation-admin,"
        " valid for 1 h.",
    )
    interval_sec: float = Field(
        default=60.0,
        alias="OCELOT_OPERATOR_INTERVAL_SEC",
        ge=1,
        le=60,  # a client's token of 10 min is renewed in time
        description="Seconds between two passes over the same Tenant, and over the keys.",
    )

    @property
    def installation(self) -> str:
        """Return the id of the installation in the labels of token Secrets: 16 hex characters.

        The place of the administrator's token is different for each installation of a cluster. It
        is the same for all replicas of an operator, and for a release that is installed again. An
        id in MongoDB would be in a copy of the database, too, which a second installation may use.
        """
        place = f"{self.namespace}/{self.admin_token_secret}"
        return hashlib.sha256(place.encode()).hexdigest()[:16]

    @property
    def own_secrets(self) -> list[tuple[str, str]]:
        """Return namespace and name of the Secrets of the keys and of the administrator's token."""
        names = (self.signing_key_secret, self.queue_keys_secret, self.admin_token_secret)
        return [(self.namespace, name) for name in names]
