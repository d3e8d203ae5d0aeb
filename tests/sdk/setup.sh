#!/bin/sh
# Makes what the SDK clients need under DIR: two Python environments and one of Node.
# Does nothing where the same has been made before.
#
#   tests/sdk/setup.sh DIR
#
# Afterwards: DIR/py1/bin/python client_1.py, DIR/py2/bin/python client_2.py,
#             node DIR/node/client_1.mjs, node DIR/node/client_2.mjs
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$1"
dir=$(CDPATH='' cd -- "$1" && pwd)

# A stamp is written last and holds what was installed, so that a run cut short counts for nothing.
made() {
    [ -f "$1/stamp" ] && cmp -s "$1/stamp" "$2"
}

for era in 1 2; do
    env="$dir/py$era"
    wanted="$here/requirements-$era.txt"
    if ! made "$env" "$wanted"; then
        echo "installing the Python SDK $era.x into $env" >&2
        rm -rf "$env"
        python3 -m venv "$env"
        "$env/bin/pip" --disable-pip-version-check --quiet install --no-deps -r "$wanted"
        cp "$wanted" "$env/stamp"
    fi
done

node="$dir/node"
if ! made "$node" "$here/package-lock.json"; then
    echo "installing the TypeScript SDKs into $node" >&2
    rm -rf "$node"
    mkdir "$node"
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$node/"
    (cd "$node" && npm ci --silent)
    cp "$here/package-lock.json" "$node/stamp"
fi
# Node looks for packages beside the script, so the scripts lie there too.
cp "$here"/*.mjs "$node/"
