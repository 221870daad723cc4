# escape=`
FROM debian
RUN <<EOF
echo one
echo "two" \$x $y
EOF
RUN <<-script
	#!/usr/bin/python3
	print("$x")
	script
RUN cat <<a > /a && cat <<'b' >/b
in a
a
in b
b
RUN echo one `
  two
RUN
RUN ["/bin/x", "a b"]
RUN ['single']
COPY C:\x /y`
  z/
