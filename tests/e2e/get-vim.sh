#!/bin/bash
# get-vim.sh DIR: Vim 9 with ALE, a language client, runnable as DIR/vim; nothing is installed. Not
# vim-nox: Python in it does not find its library here, and ends Vim when a file's omnifunc asks it.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
prefix=$(realpath -m "$1")
root=$prefix/root

if ! [ -x "$root/usr/bin/vim.basic" ] || ! "$prefix/vim" --version >/dev/null 2>&1; then # also where the folder was moved
  "$here/unpack-debian.sh" "$prefix" usr/bin/vim.basic vim vim-ale
  mkdir -p "$prefix/pack/debian/start"
  ln -sfn "$root/usr/share/vim-ale" "$prefix/pack/debian/start/ale"
  cat >"$prefix/vim" <<END
#!/bin/sh
export VIMRUNTIME="$(echo "$root"/usr/share/vim/vim9*)"
exec "$root/usr/bin/vim.basic" --cmd "set packpath^=$prefix" "\$@"
END
  chmod +x "$prefix/vim"
fi
touch "$prefix/vim" # make compares it with this script
"$prefix/vim" --version | sed -n 1p
