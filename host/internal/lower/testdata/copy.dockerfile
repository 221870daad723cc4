FROM scratch AS src
COPY . /
FROM debian AS copy
WORKDIR /w
COPY a b c/
COPY a .
COPY a ./x/.
COPY ../../etc/passwd /a/../p
COPY /abs/ "/q"
COPY ["a b", "c d/"]
COPY --from=0 rel/path ../up
COPY --from=busybox:1 --chown=0:0 --chmod=u=rwX,go=rX /bin/busybox /bin/
COPY --link --chown=10 a /l/
COPY --link --chmod=644 a /l/
COPY --parents --exclude=*.o --exclude=$X ./x/./y/*.c z /p/
ADD a.tar /u
ADD --unpack=false a.tar /u
COPY <<one <<-"two" three /docs/
$HOME is \$HOME "quoted" ${NOPE:-unset} \\
one
	tab $HOME
	two
ADD <<EOF /file
x
EOF
COPY $EMPTY /all/
