FROM base
ENV EDITOR=ed PATH=$PATH:/opt "WITH SPACE"=x
ENV OLD style value
LABEL from=file to="a b" 'q'=1
MAINTAINER Some One <one@example.com>
RUN a && b
WORKDIR sub
WORKDIR /
WORKDIR /a/../b/
USER 1000:100
EXPOSE 8000-8002 53/udp 127.0.0.1:90:80
VOLUME ["/data", "/a b"]
VOLUME /x /y
STOPSIGNAL sigquit
HEALTHCHECK --interval=5s --retries=3 CMD curl -f http://localhost
ENTRYPOINT ["/app"]
CMD run $A
SHELL ["/bin/sh", "-ec"]
CMD run
ENTRYPOINT app
HEALTHCHECK NONE
ENTRYPOINT []
CMD []
