FROM scratch AS tools
COPY t /bin/t
FROM scratch AS other
COPY --from=nginx:1 / /
FROM builder AS app
ONBUILD COPY --from=other /x /y
ONBUILD RUN <<EOT
make
EOT
RUN app
FROM app
CMD ["x"]
