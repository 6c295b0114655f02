"""Where the end-to-end tests run."""

import os
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Target:
    """Images, backends and namespace; see tests/e2e/README.md.

    Attributes:
        image: prefix of the images.
        tag: of the images.
        mongodb_url, sqs_endpoint_url, opensearch_url: reached from the pods and from here.
        namespace: is created, and deleted after the tests.
    """

    image: str
    tag: str
    mongodb_url: str
    sqs_endpoint_url: str
    opensearch_url: str
    namespace: str

    @classmethod
    def from_env(cls) -> Self:
        """Read the environment.

        Raises:
            ValueError: a variable is missing; names all that are.
        """
        environ = os.environ
        names = ("MONGODB_URL", "SQS_ENDPOINT_URL", "OPENSEARCH_URL")
        missing = [f"OCELOT_E2E_{name}" for name in names if not environ.get(f"OCELOT_E2E_{name}")]
        if missing:
            raise ValueError(f"Set {', '.join(missing)}, or run `make e2e-here`.")
        return cls(
            image=environ.get("OCELOT_E2E_IMAGE", "localhost/ocelot"),
            tag=environ.get("OCELOT_E2E_TAG", ""),
            mongodb_url=environ["OCELOT_E2E_MONGODB_URL"],
            sqs_endpoint_url=environ["OCELOT_E2E_SQS_ENDPOINT_URL"],
            opensearch_url=environ["OCELOT_E2E_OPENSEARCH_URL"],
            namespace=environ.get("OCELOT_E2E_NAMESPACE", "ocelot-e2e"),
        )
