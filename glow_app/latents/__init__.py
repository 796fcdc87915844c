"""What one does with latents: sample, temper, interpolate, edit."""
