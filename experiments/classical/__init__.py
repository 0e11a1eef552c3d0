"""Classical forecasters, beside which experiments put latent ODEs."""
