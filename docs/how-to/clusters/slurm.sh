#!/bin/bash
# One study on four nodes of a Slurm cluster: `sbatch slurm.sh`. Sent again, it goes on.
#SBATCH --job-name=regimes
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --constraint=icelake
#SBATCH --time=08:00:00
#SBATCH --requeue
source "$HOME/concept-ppl/bin/activate"
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))

# A node each: the first is the head, the others join it and stay until the job ends.
srun --nodes=1 --ntasks=1 -w "$head" \
    ray start --head --node-ip-address="$head" --port="$port" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --include-dashboard=false --block &
sleep 20
srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" \
    ray start --address="$head:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
sleep 20

concept-ppl study regimes --full --ray "$head:$port" -o "$SCRATCH/regimes"
