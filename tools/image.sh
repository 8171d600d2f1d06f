#!/bin/sh
# Installs the webhook into a new folder as the image has it: tools/image.sh /opt/webhook
#
# A virtual environment of the pinned requirements without what nobody runs, compiled, with a list of all packages in
# sbom.cdx.json. The same commit, folder, Python and SOURCE_DATE_EPOCH make the same bytes, modes and times.
set -eu
umask 022

folder=$1
python=${PYTHON:-python}
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-0}" PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The environments have no pip: that of the Python which makes them serves.
pip() { "$python" -m pip --python "$@"; }
locked="--quiet --no-deps --no-compile --require-hashes --only-binary :all: --requirement"

"$python" -m venv --without-pip "$scratch/tools"
# shellcheck disable=SC2086
pip "$scratch/tools/bin/python" install $locked requirements/image.txt
pip "$scratch/tools/bin/python" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$scratch" .

"$python" -m venv --without-pip "$folder"
# shellcheck disable=SC2086
pip "$folder/bin/python" install $locked requirements/runtime.txt
pip "$folder/bin/python" install --quiet --no-deps --no-compile --no-index --find-links "$scratch" task-resource-webhook

version=$("$folder/bin/task-resources" --version)
sed "s/^dynamic = .*/version = \"${version##* }\"/" pyproject.toml > "$scratch/pyproject.toml"
"$scratch/tools/bin/cyclonedx-py" environment --pyproject "$scratch/pyproject.toml" --output-reproducible \
    --output-file "$folder/sbom.cdx.json" "$folder/bin/python"

find "$folder/bin" -mindepth 1 ! -name 'python*' ! -name task-resources -delete
# Three quarters of the Kubernetes client: its asynchronous twin, and the groups of the API that the webhook never asks.
client=$(echo "$folder"/lib/python*/site-packages/kubernetes)
rm -r "$client/aio"
find "$client/client/api" -type f ! -name __init__.py ! -name core_v1_api.py -delete

# Compiled here, as nothing can be written where it runs; with Python's own modules, which official images leave out.
stdlib=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
PYTHONPYCACHEPREFIX="$folder/pycache" "$python" -m compileall -q --invalidation-mode checked-hash \
    -x "^$stdlib/(.*/)?(tests?|(site|dist)-packages|ensurepip|idlelib|lib2to3|pydoc_data|tkinter|turtledemo)/" \
    "$folder/lib" "$stdlib"
find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
