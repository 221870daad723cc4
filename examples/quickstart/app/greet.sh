#!/bin/sh
echo "there are $(cat /data/count) words:"
cat /data/sorted.txt
