#!/bin/bash
# unpack-debian.sh DIR PROGRAM PACKAGE...: packages of a newer Debian, with all that they need, in
# DIR/root; nothing is installed. They are likely to want a newer libc than this machine's, so PROGRAM
# (a path below DIR/root) is pointed at the one beside it: some run themselves again as /proc/self/exe,
# so a wrapper around ld.so would not do. DEBIAN_MIRROR overrides the mirror of this machine's apt.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 DIR PROGRAM PACKAGE..." >&2; exit 2; }
prefix=$(realpath -m "$1")
program=$2
shift 2
suite=forky

command -v apt-get >/dev/null || { echo "$0 needs Debian's apt-get" >&2; exit 1; }
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
mirrors=${DEBIAN_MIRROR:-$(apt-get --print-uris update | sed -n "s#^'\(.*\)/dists/$codename/InRelease'.*#\1#p")}
if [ -z "$codename" ] || [ -z "$mirrors" ]; then
  echo "$0: no Debian mirror in the apt sources (/etc/apt); set DEBIAN_MIRROR=URL" >&2
  exit 1
fi

# An apt of its own: no package counts as installed, so that all that is needed is fetched.
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
    apt-get -qq -c apt.conf install -y --download-only --no-install-recommends "$@" patchelf
    fetched=yes
    break
  fi
done
[ -n "$fetched" ] || { echo "$0: no $suite at $mirrors" >&2; exit 1; }
root=$prefix/root
for deb in cache/archives/*.deb; do dpkg -x "$deb" "$root"; done
rm -rf "$prefix/apt"

loader=$(realpath "$root"/usr/lib*/ld-linux-*.so.* | head -1)
libraries=$(dirname "$(find "$root" -name libc.so.6 -print -quit)")
"$loader" --library-path "$libraries" "$root/usr/bin/patchelf" \
  --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$root/$program"
