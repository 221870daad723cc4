# The same without RUN: for machines where no process may be isolated, or no base with a shell is at hand.
FROM scratch AS words
COPY words.txt /

FROM scratch
COPY --from=words /words.txt /data/
COPY --chmod=755 greet.sh /bin/greet
USER 1000:1000
CMD ["/bin/greet"]
