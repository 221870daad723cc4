ARG BASE
FROM $BASE
RUN apt-get update && apt-get install -y --no-install-recommends autoconf automake gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
