#!/bin/bash
# Submits a run to a Ray cluster whose machines have facerestore[ray,remote] and the same weights:
#
#   ray start --head                         # on the first machine, where the driver and its journal are
#   ray start --address FIRST:6379           # on each of the others; or an autoscaler starts them as workers are asked for
#   examples/cluster/ray_job.sh s3://photos s3://restored
#
# The journal lies on the first machine's disk; the same command again does what is left. On a disk that all machines share
# photos and results may be paths. RAY_API is the address of the cluster's job server; "ray job logs --follow ID" shows a
# line of JSON for each photo, "ray job stop ID" ends it, and no file is half written.
set -euo pipefail

photos=$1
results=$2
journal=${3:-$HOME/facerestore-journal}

exec ray job submit --address "${RAY_API:-http://127.0.0.1:8265}" --no-wait -- \
  facerestore enhance "$photos" --recursive -o "$results" --engine ray --address auto \
  --journal "$journal" --log-json
