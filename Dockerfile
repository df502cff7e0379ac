ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY outbox outbox
COPY relay relay
COPY api api
COPY docs docs
RUN python -m venv /opt/outbox && /opt/outbox/bin/pip install --no-cache-dir --disable-pip-version-check '.[relay,api]'

FROM python:${PYTHON}-slim
RUN groupadd --system --gid 10001 outbox \
 && useradd --system --uid 10001 --gid outbox --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin outbox
COPY --from=build /opt/outbox /opt/outbox
ENV PATH=/opt/outbox/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /opt/outbox
EXPOSE 8000 8001
ENTRYPOINT ["outbox"]
CMD ["--help"]
