ARG BASE
FROM $BASE
RUN apt-get update && apt-get install -y --no-install-recommends --download-only git python3 default-jre-headless gcc libc6-dev sudo libcap2-bin
