#!/bin/bash
# get-emacs.sh DIR: Emacs with eglot, without a window system, runnable as DIR/emacs; nothing is
# installed.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
prefix=$(realpath -m "$1")
root=$prefix/root

if ! "$prefix/emacs" --version >/dev/null 2>&1; then # also where the folder was moved
  "$here/unpack-debian.sh" "$prefix" usr/bin/emacs-nox emacs-nox
  lisp=$(echo "$root"/usr/share/emacs/*/lisp)
  programs=$(echo "$root"/usr/libexec/emacs/*/*/)
  cat >"$prefix/emacs" <<END
#!/bin/sh
export EMACSLOADPATH="$(find "$lisp" -type d -printf '%p:' | sed 's/:$//')"
export EMACSDATA="${lisp%lisp}etc" EMACSDOC="${lisp%lisp}etc" EMACSPATH="$programs"
exec "$root/usr/bin/emacs-nox" --dump-file="$(echo "$programs"*.pdmp)" "\$@"
END
  chmod +x "$prefix/emacs"
fi
touch "$prefix/emacs" # make compares it with this script
"$prefix/emacs" --version | sed -n 1p
