ARG VERSION=1
ARG BASE=debian:$VERSION
FROM $BASE AS build
ARG VERSION
ARG A=one B=${A}-two UNSET
ENV A=fixed C="$A $B"
ARG A=three
RUN echo $A ${B} $UNSET $HTTP_PROXY "$C" '$C'
ARG HTTP_PROXY TARGETARCH
COPY $A.txt ${B} /dst-$TARGETARCH/
RUN --network=none make \
    # a comment
    all
FROM build
RUN echo $A
ARG A=four
RUN ["echo", "$A"]
