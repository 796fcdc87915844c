"""Operations on latents: sampling, tempering, interpolation, edits, restoration."""
