#!/bin/sh
# package.sh FILE: the plugin as an archive (.tar.gz) with one folder, cl-lsp.nvim, for Neovim's
# pack/*/start; the same bytes each time. The tags of its help are made here.
set -eu
[ $# = 1 ] || { echo "usage: $0 FILE" >&2; exit 2; }
here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
plugin=$folder/cl-lsp.nvim
mkdir "$plugin"
cp -R "$here/doc" "$here/lsp" "$here/lua" "$here/plugin" "$here/../../LICENSE" "$plugin"
grep -o '\*[^*[:space:]|]\{1,\}\*' "$plugin/doc/cl-lsp.txt" | tr -d '*' | LC_ALL=C sort |
  awk '{ printf "%s\tcl-lsp.txt\t/*%s*\n", $0, $0 }' >"$plugin/doc/tags"
tar -C "$folder" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
  --mode=u+rwX,go+rX,go-w -cf - cl-lsp.nvim | gzip -9n >"$1"
