"""What this machine is and has: cores, limits, boards, GPUs, drivers, the libraries of vendors. Facts, no judgement."""
