#!/bin/sh
# Makes what the Dockerfile beside it copies, but for trowel itself: gather.sh DIR ARCH...
#
# Certificate authorities and busybox are those of Debian, fetched for each architecture by apt, which verifies them. Nothing of
# the machine goes into the image: neither authorities that its administrator added nor programs that it has installed.
set -eu
dir=$1
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/packages"
: >"$work/status"
own=$(dpkg --print-architecture)

# With lists of its own, so that the machine's dpkg need not know the architectures.
apt() {
	apt-get -qq -o APT::Architecture="$own" -o APT::Architectures="$own,$archs" -o APT::Sandbox::User=root -o Acquire::Languages=none \
		-o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" "$@"
}
archs=$(echo "$@" | tr ' ' ,)
apt update
names=ca-certificates
for arch in "$own" "$@"; do names="$names busybox-static:$arch"; done
# shellcheck disable=SC2086 # several words
(cd "$work/packages" && apt download $names)
for deb in "$work"/packages/*.deb; do
	basename "$deb"
	dpkg-deb -x "$deb" "$work/$(dpkg-deb -f "$deb" Package Architecture | sed 's/.*: //' | paste -sd -)"
done

mkdir -p "$dir"
cd "$dir"
rm -rf places certs busybox
mkdir -p places/kaniko/.docker places/tmp places/workspace certs
find "$work/ca-certificates-all/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort | xargs cat >certs/ca-certificates.crt
# Another architecture's busybox cannot be run to be asked for its applets; they are built alike.
applets=$("$work/busybox-static-$own/bin/busybox" --list)
for arch; do
	mkdir -p "busybox/$arch/busybox" "busybox/$arch/bin"
	cp "$work/busybox-static-$arch/bin/busybox" "busybox/$arch/busybox/busybox"
	for applet in $applets; do
		[ "$applet" = busybox ] || ln -s busybox "busybox/$arch/busybox/$applet"
	done
	ln -s ../busybox/busybox "busybox/$arch/bin/sh"
done
