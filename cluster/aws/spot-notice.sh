#!/usr/bin/env bash
# Waits for AWS's interruption notice, two minutes before a spot instance stops, and drains the node: its trials save a
# checkpoint. On-demand instances get no notice.
#   spot-notice.sh [SECONDS BETWEEN CHECKS]
set -euo pipefail
metadata=${SPOT_METADATA:-http://169.254.169.254/latest} # AWS EC2 user guide: spot instance interruption notices, IMDSv2
while sleep "${1:-5}"; do
  token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token") || continue
  if curl -sf -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action"; then
    echo "this instance stops in two minutes"
    exec sweeper cluster drain --seconds 110
  fi
done
