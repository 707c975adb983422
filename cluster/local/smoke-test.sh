#!/usr/bin/env bash
# A smoke test of the cluster path on this machine: starts two Ray nodes, submits a sweep as a job, and stops the nodes.
#   cluster/local/smoke-test.sh [SWEEP] [options of `sweeper cluster submit`]
set -euo pipefail
if [[ $# -eq 0 ]]; then set -- quickstart; fi
sweeper cluster up-local --nodes 2 --gpus-per-node 0
trap 'sweeper cluster down-local' EXIT
sweeper cluster submit "$@" --address local --storage "${SWEEPER_STORAGE:-$PWD/storage}"
