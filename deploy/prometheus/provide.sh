#!/bin/sh
# Provides prometheus, promtool, prometheus-alertmanager and amtool in DIRECTORY/bin: those of the
# system, else Debian's packages, unpacked there without root. Nothing is started.
set -eu
directory=$1
mkdir -p "$directory/bin"

missing=""
for tool in prometheus promtool prometheus-alertmanager amtool; do
  # Upstream's archive calls it alertmanager.
  found=$(command -v "$tool" || command -v "${tool#prometheus-}" || true)
  if [ -n "$found" ]; then ln -sf "$found" "$directory/bin/$tool"; else missing="$missing $tool"; fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "missing:$missing; install Prometheus and Alertmanager (2.42 and 0.25 or newer)" >&2
  exit 1
fi
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
download() { apt-get download -qq prometheus prometheus-alertmanager 2>/dev/null; }
if ! download; then
  # Fresh images carry no package lists; only root may fetch them.
  apt-get update -qq && download
fi
for package in *.deb; do dpkg -x "$package" "$packages/root"; done
cd "$OLDPWD"
for tool in $missing; do mv "$packages/root/usr/bin/$tool" "$directory/bin/$tool"; done

case $missing in *prometheus-alertmanager*)
  # Debian's binary reads its template from an absolute path that only root can create. The unpacked
  # one reads a path of the same length, relative to its working directory.
  rm -rf "$directory/share" && mkdir -p "$directory/share/prometheus"
  mv "$packages/root/usr/share/prometheus/alertmanager" "$directory/share/prometheus/"
  LC_ALL=C sed -i 's#/usr/share/prometheus/alertmanager#share/prometheus/alertmanager/////#g' \
    "$directory/bin/prometheus-alertmanager" ;;
esac
