# Two images of one distribution:
#   docker build --target operator -t thunderhead-operator .     the operator, without torch
#   docker build --target runtime  -t thunderhead-runtime  .     the agent and the trainer, with torch
# Both run as user 65532 and need no writable root file system; only /tmp, where a job wants it to be.
# An index or certificate authorities of your own: --secret id=pip,src=pip.conf, --secret id=uv,src=uv.toml and
# --secret id=ca,src=BUNDLE. They are there while packages are installed, and stay in no layer.
# Layers change more rarely the lower they lie: system, dependencies, and last this repository's own code.
ARG BASE=python:3.11-slim

# Wheels to prefer over the index, for instance a CPU build of torch: --build-context wheels=DIRECTORY
FROM scratch AS wheels

FROM ${BASE} AS package
ARG UV=0.13.9
ARG HATCHLING=1.27.0
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,mode=0444 \
    --mount=type=secret,id=pip,target=/etc/pip.conf,mode=0444 --mount=type=secret,id=uv,target=/etc/uv/uv.toml,mode=0444 \
    python3 -m venv /opt/build \
    && /opt/build/bin/python -m pip install --quiet --no-cache-dir uv==${UV} hatchling==${HATCHLING} \
    && python3 -m venv --without-pip /opt/thunderhead
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY crds ./crds
COPY operator ./operator
COPY runtime ./runtime
RUN /opt/build/bin/uv build --quiet --wheel --no-build-isolation --python /opt/build/bin/python --out-dir /dist . \
    && /opt/build/bin/uv pip install --quiet --python /opt/thunderhead/bin/python --prefix /package --no-deps \
       --compile-bytecode /dist/*.whl \
    && rm /package/.lock

FROM ${BASE} AS base
RUN echo 'thunderhead:x:65532:65532::/tmp:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'thunderhead:x:65532:' >>/etc/group \
    && python3 -m venv --without-pip /opt/thunderhead
ENV PATH=/opt/thunderhead/bin:${PATH} HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp

# Dependencies are installed in place rather than copied from another stage: nothing then has to read gigabytes of torch
# again to find that they did not change. The installer itself is gone when the layer is complete.
FROM base AS operator
ARG UV=0.13.9
COPY requirements/operator.txt /opt/thunderhead/requirements.txt
RUN --mount=type=cache,target=/var/cache/uv \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,mode=0444 \
    --mount=type=secret,id=pip,target=/etc/pip.conf,mode=0444 --mount=type=secret,id=uv,target=/etc/uv/uv.toml,mode=0444 \
    python3 -m venv /tmp/build && /tmp/build/bin/python -m pip install --quiet --no-cache-dir uv==${UV} \
    && /tmp/build/bin/uv pip install --quiet --cache-dir /var/cache/uv --link-mode copy --compile-bytecode \
       --python /opt/thunderhead/bin/python -r /opt/thunderhead/requirements.txt \
    && rm -rf /tmp/build
USER 65532:65532
ENTRYPOINT ["python", "-m", "thunderhead_operator"]
COPY --from=package /package /opt/thunderhead

FROM base AS runtime
ARG UV=0.13.9
COPY requirements/runtime.txt /opt/thunderhead/requirements.txt
RUN --mount=type=cache,target=/var/cache/uv --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,mode=0444 \
    --mount=type=secret,id=pip,target=/etc/pip.conf,mode=0444 --mount=type=secret,id=uv,target=/etc/uv/uv.toml,mode=0444 \
    python3 -m venv /tmp/build && /tmp/build/bin/python -m pip install --quiet --no-cache-dir uv==${UV} \
    && /tmp/build/bin/uv pip install --quiet --cache-dir /var/cache/uv --link-mode copy --compile-bytecode \
       --find-links /wheels --python /opt/thunderhead/bin/python -r /opt/thunderhead/requirements.txt \
    && rm -rf /tmp/build
USER 65532:65532
CMD ["python", "-m", "thunderhead_agent"]
COPY --from=package /package /opt/thunderhead
