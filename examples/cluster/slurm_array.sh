#!/bin/bash
# A share of the photos for each task of a Slurm array; nothing passes between tasks but what they read and write.
#
#   sbatch --array=1-16 examples/cluster/slurm_array.sh s3://photos s3://restored
#   sbatch --array=1-16 examples/cluster/slurm_array.sh /shared/photos /shared/restored /shared/journals
#
# The same command again does what is left. Each share has a journal of its own, which must outlive the task: SQLite may not
# be written by two machines, and no task writes another's. Change the number of tasks only with new journals, or with
# --skip-existing, since the shares are others then.
#SBATCH --job-name=facerestore
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --output=facerestore-%A_%a.jsonl
set -euo pipefail

photos=$1
results=$2
journals=${3:-$HOME/facerestore-journals}
share=$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

# exec: SIGTERM then reaches facerestore, which finishes what is under way, and exits with 143.
exec facerestore enhance "$photos" --recursive -o "$results" --shard "$share" \
  --journal "$journals/${share/\//-of-}" --workers "$SLURM_CPUS_PER_TASK" --threads 1 --log-json
