#!/bin/bash
# get-nvim.sh DIR: Neovim with inline completion (0.12), runnable as DIR/nvim; nothing is installed.
# It comes from a newer Debian than this one is likely to be, so it is unpacked beside its own libc.
# DEBIAN_MIRROR overrides the mirror of this machine's apt sources.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
prefix=$(realpath -m "$1")
suite=forky

good() { [ -x "$1/nvim" ] && "$1/nvim" --clean --headless +'lua assert(vim.lsp.inline_completion)' +q >"$1/check.log" 2>&1 && [ ! -s "$1/check.log" ]; }
if good "$prefix"; then
  "$prefix/nvim" --version | head -1
  touch "$prefix/nvim" # make compares it with this script
  exit
fi

command -v apt-get >/dev/null || { echo "$0 needs Debian's apt-get" >&2; exit 1; }
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirrors=${DEBIAN_MIRROR:-$(apt-get --print-uris update | sed -n "s#^'\(.*\)/dists/$codename/InRelease'.*#\1#p")}
if [ -z "$codename" ] || [ -z "$mirrors" ]; then
  echo "$0: no Debian mirror in the apt sources (/etc/apt); set DEBIAN_MIRROR=URL" >&2
  exit 1
fi

# An apt of its own: no package counts as installed, so that all that nvim needs is fetched.
rm -rf "$prefix"
mkdir -p "$prefix/apt/lists/partial" "$prefix/apt/cache/archives/partial"
cd "$prefix/apt"
touch status
cat >apt.conf <<END
Dir::Etc { SourceList "$PWD/sources.list"; SourceParts "/dev/null"; PreferencesParts "/dev/null"; };
Dir::State "$PWD"; Dir::State::Status "$PWD/status"; Dir::Cache "$PWD/cache";
Acquire::Languages "none"; Acquire::Retries "3"; APT::Sandbox::User "";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
fetched=
for mirror in $mirrors; do # where a third party uses the same codename, only one has the suite
  echo "deb [signed-by=$keyring] $mirror $suite main" >sources.list
  if apt-get -qq -c apt.conf update --error-on=any; then
    apt-get -qq -c apt.conf install -y --download-only --no-install-recommends neovim patchelf
    fetched=yes
    break
  fi
done
[ -n "$fetched" ] || { echo "$0: no $suite at $mirrors" >&2; exit 1; }
root=$prefix/root
for deb in cache/archives/*.deb; do dpkg -x "$deb" "$root"; done
cd "$prefix"
rm -rf apt

# nvim runs itself again as /proc/self/exe, so a wrapper around ld.so would not do.
loader=$(realpath "$root"/usr/lib*/ld-linux-*.so.* | head -1)
libc=$(find "$root" -name libc.so.6 -print -quit)
libraries=$(dirname "$libc")
"$loader" --library-path "$libraries" "$root/usr/bin/patchelf" \
  --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$root/usr/bin/nvim"
cat >nvim <<END
#!/bin/sh
export VIMRUNTIME="$root/usr/share/nvim/runtime"
exec "$root/usr/bin/nvim" "\$@"
END
chmod +x nvim
good "$prefix" || { cat check.log; echo "$0: this nvim does not run or is older than 0.12" >&2; exit 1; }
./nvim --version | head -1
