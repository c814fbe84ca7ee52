"""The steps of scripts/gpu_proof.py, one module each; `steps.py` lists them. docs/gpu.md says what each shows."""
