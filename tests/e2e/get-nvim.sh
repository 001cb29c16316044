#!/bin/bash
# get-nvim.sh DIR: Neovim with inline completion (0.12), runnable as DIR/nvim; nothing is installed.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
prefix=$(realpath -m "$1")
root=$prefix/root

good() { [ -x "$prefix/nvim" ] && "$prefix/nvim" --clean --headless +'lua assert(vim.lsp.inline_completion)' +q >"$prefix/check.log" 2>&1 && [ ! -s "$prefix/check.log" ]; }
if ! good; then
  "$here/unpack-debian.sh" "$prefix" usr/bin/nvim neovim
  cat >"$prefix/nvim" <<END
#!/bin/sh
export VIMRUNTIME="$root/usr/share/nvim/runtime"
exec "$root/usr/bin/nvim" "\$@"
END
  chmod +x "$prefix/nvim"
  good || { cat "$prefix/check.log"; echo "$0: this nvim does not run or is older than 0.12" >&2; exit 1; }
fi
touch "$prefix/nvim" # make compares it with this script
"$prefix/nvim" --version | sed -n 1p
