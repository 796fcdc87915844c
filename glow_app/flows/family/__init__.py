"""The relatives of Glow: NICE, Real NVP, MintNet, MAF, IAF, Gaussianization flows, and flows of points in the plane."""
