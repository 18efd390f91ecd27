# SoftHSM behind p11-kit server, on a socket in the shared directory /share.
FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends softhsm2 p11-kit \
 && rm -rf /var/lib/apt/lists/*
COPY serve-softhsm.sh /serve-softhsm.sh
ENTRYPOINT ["sh", "/serve-softhsm.sh"]
