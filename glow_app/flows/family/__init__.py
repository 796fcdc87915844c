"""The relatives of Glow: NICE, Real NVP, MintNet, MAF, IAF, and Gaussianization, planar, radial and plane flows."""
