#!/bin/bash
# Runs the commands of commands.txt and prints what came of each: its name, its exit code, and what it printed, in base64.
mkdir -p /w
while IFS='|' read -r name want command; do
	case $name in '#'* | '') continue ;; esac
	out=$(cd /w && timeout 120 bash -c "$command" < /dev/null 2> /w/stderr)
	code=$?
	echo "matrix|${name%"${name##*[! ]}"}|$code|$(printf %s "$out" | head -c 2000 | base64 -w 0)|$(tail -c 500 /w/stderr | base64 -w 0)"
done < "$(dirname "$0")/commands.txt"
