# One image per member: `docker build --build-arg MEMBER=api .`, or `make images` for all of them.
#
# The base image needs Python 3.11 or later. Both stages use the same one, because the virtual
# environment refers to its interpreter.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG MEMBER
ARG UV_VERSION=0.13.9
ENV UV_PROJECT_ENVIRONMENT=/opt/ocelot \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
RUN command -v uv > /dev/null || python3 -m pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /src
# The dependencies make a layer of their own: a change of our code leaves it in the builder's cache.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-workspace --package "ocelot-audit-${MEMBER}"
COPY . .
RUN uv sync --frozen --no-dev --no-editable --package "ocelot-audit-${MEMBER}"
# An exec-form entry point cannot contain MEMBER. -P keeps the folder of the script off the path.
RUN printf '#!/opt/ocelot/bin/python -P\nimport runpy\n\nrunpy.run_module("ocelot_%s", run_name="__main__", alter_sys=True)\n' \
    "${MEMBER}" > /opt/ocelot/bin/start && chmod 755 /opt/ocelot/bin/start

FROM ${BASE_IMAGE}
ARG MEMBER
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ocelot-${MEMBER}" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/ocelot /opt/ocelot
# The root file system may be read-only: nothing is compiled or written at run time.
ENV PATH=/opt/ocelot/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can verify `runAsNonRoot`.
USER 10001:10001
WORKDIR /
# The CMD of the base image would be the first argument.
CMD []
ENTRYPOINT ["/opt/ocelot/bin/start"]
