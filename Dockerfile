# Midstream in a container: Python, the locked packages, and nothing to build with.
#
#   docker build -t midstream .
#   docker run -e MIDSTREAM_KEY=… -p 8080:8080 -v midstream:/midstream/.midstream --stop-timeout 30 midstream
#
# A config of your own is read from /midstream/config.toml. The data of the embedded store is in
# /midstream/.midstream; nothing else is written, so --read-only works, and so does any --user who
# may write there.
#
# The tag moves with Python's and Debian's fixes. To pin the very bytes, take the digest that
# `docker buildx imagetools inspect python:3.11-slim-bookworm` prints, and build with
# --build-arg BASE=python:3.11-slim-bookworm@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
RUN python3 -m venv /opt/midstream
# The packages first: they change less often than the source, and are kept as a layer.
COPY .requirements/run.txt .requirements/run.txt
RUN /opt/midstream/bin/pip install --no-cache-dir --require-hashes -r .requirements/run.txt
COPY pyproject.toml README.md config.toml ./
COPY proxy proxy
RUN /opt/midstream/bin/pip install --no-cache-dir --no-deps --no-build-isolation .
RUN /opt/midstream/bin/pip uninstall --yes setuptools pip

FROM ${BASE}
COPY --from=build /opt/midstream /opt/midstream
ENV PATH=/opt/midstream/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
# Owned by a fixed user, and open to the root group, which is the group of arbitrary users on
# platforms that choose one themselves.
RUN mkdir -p /midstream/.midstream && chown 10001:0 /midstream/.midstream && chmod 770 /midstream/.midstream
WORKDIR /midstream
VOLUME ["/midstream/.midstream"]
USER 10001:0
EXPOSE 8080
STOPSIGNAL SIGTERM
# /healthz, not /readyz: a store that is away makes it unready, and whoever restarts what is
# unhealthy would cut off answers that survive that.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["midstream", "serve", "--host", "0.0.0.0", "--port", "8080"]
