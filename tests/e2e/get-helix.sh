#!/bin/bash
# get-helix.sh DIR: Helix, runnable as DIR/hx; nothing is installed.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
prefix=$(realpath -m "$1")

if ! [ -x "$prefix/hx" ]; then
  "$here/unpack-debian.sh" "$prefix" usr/bin/hx hx
  ln -s root/usr/bin/hx "$prefix/hx"
fi
touch "$prefix/hx" # make compares it with this script
"$prefix/hx" --version
