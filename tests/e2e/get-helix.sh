#!/bin/bash
# get-helix.sh DIR: Helix, runnable as DIR/hx; nothing is installed.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
prefix=$(realpath -m "$1")

if ! "$prefix/hx" --version >/dev/null 2>&1; then # also where the folder was moved
  "$here/unpack-debian.sh" "$prefix" usr/bin/hx hx
  ln -s root/usr/bin/hx "$prefix/hx"
fi
touch "$prefix/hx" # make compares it with this script
"$prefix/hx" --version
