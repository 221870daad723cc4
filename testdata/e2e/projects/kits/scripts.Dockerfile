ARG BASE
FROM $BASE
RUN apt-get update && apt-get install -y --no-install-recommends nginx-light perl php-cli python3-venv ruby && rm -rf /var/lib/apt/lists/*
