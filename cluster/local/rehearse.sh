#!/usr/bin/env bash
# A rehearsal of the way to a cluster, on this machine: two Ray nodes, one sweep through Ray's job API, and nothing left.
#   cluster/local/rehearse.sh [SWEEP] [options of `sweeper cluster submit`]
set -euo pipefail
if [[ $# -eq 0 ]]; then set -- quickstart; fi
sweeper cluster up-local --nodes 2 --gpus-per-node 0
trap 'sweeper cluster down-local' EXIT
sweeper cluster submit "$@" --address local --storage "${SWEEPER_STORAGE:-$PWD/storage}"
