ARG BASE
FROM $BASE
RUN apt-get update && apt-get install -y --no-install-recommends cargo libc6-dev && rm -rf /var/lib/apt/lists/*
