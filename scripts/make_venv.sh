#!/bin/sh
# Make a virtual environment; Debian and Ubuntu keep what that needs in a package of its own.
# usage: make_venv.sh PYTHON FOLDER
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null; then
    echo "$python is not installed; on Debian or Ubuntu: apt-get install python3 python3-venv" >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "Python 3.10 or newer is needed, $("$python" --version) is too old; try: make PYTHON=python3.11" >&2
    exit 2
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then sudo=""; else sudo=sudo; fi
    echo "Installing python3-venv ..."
    $sudo apt-get update -q && $sudo apt-get install -q -y python3-venv
fi
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --upgrade pip
