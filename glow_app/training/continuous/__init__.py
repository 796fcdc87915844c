"""Training of continuous flows: by flow matching, or by likelihood with a penalty on energies."""
