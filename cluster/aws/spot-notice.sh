#!/usr/bin/env bash
# On a spot machine: wait for AWS's notice, which comes two minutes before it goes, and have its trials save a checkpoint.
#   spot-notice.sh [SECONDS BETWEEN TWO LOOKS]
# On demand machines get no notice; it waits there for nothing.
set -euo pipefail
metadata=${SPOT_METADATA:-http://169.254.169.254/latest} # AWS EC2 user guide: spot instance interruption notices, IMDSv2
while sleep "${1:-5}"; do
  token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token") || continue
  if curl -sf -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action"; then
    echo "this machine goes in two minutes"
    exec sweeper cluster drain --seconds 110
  fi
done
