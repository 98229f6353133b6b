# The image: one static program, CA certificates, and a name for its user. No shell, no libc, no package.
# scripts/image makes the context and builds it. To build with nothing but Docker installed, see Dockerfile.build.
FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="pushsync" \
      org.opencontainers.image.description="A sidecar that gets a git push into running pods" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY passwd group /etc/
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY pushsync /pushsync
# For container specs of git-sync, which rely on /git, on its variable, and sometimes on the program's name.
COPY --chown=65533:65533 git-sync /
ENV GITSYNC_ROOT=/git
# By number, so that runAsNonRoot can be checked. Any other user works as well.
USER 65533:65533
# Webhooks, probes and metrics. The dashboard's API is on loopback and is not for the network.
EXPOSE 8080 8081
ENTRYPOINT ["/pushsync"]
