"""The same workflow on a Slurm cluster: its jobs are followed, and checked before any is submitted."""
