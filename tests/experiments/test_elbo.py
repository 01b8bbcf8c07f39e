"""A small run of the bounds; verdicts follow broken data."""

import numpy as np

from tests.verdicts import changed

EXPERIMENT = "elbo"
SMALL = {"elbo": {"groups": 500, "correlations": (0.0, 0.5, 0.95), "chain_steps": 50_000, "vae_steps": 1500}}


def test_every_claim_passes_and_follows_its_data(run):
    small = run("elbo")
    assert [(claim.id, claim.measured) for claim in small.claims if not claim.passed] == []
    data = small.dataset
    assert "elbo-plus-kl-is-log-evidence" in changed(small, bound=data.bound + 1e-3)
    assert "importance-weighted-bound-tightens" in changed(small, weighted_bound=data.weighted_bound[::-1])
    assert "mean-field-variance-is-conditional" in changed(small, mean_field_sd=1 + 0 * data.mean_field_sd)
    assert "khat-tells-narrow-guides" in changed(small, corrected_sd=data.corrected_sd - 0.3)
    assert "reverse-divergence-seeks-a-mode" in changed(small, seeking_share=0.4 + data.seeking_share)
    assert "khat-does-not-see-a-missed-mode" in changed(small, seeking_status=0 * data.seeking_status)
    assert "mcmc-approximates-posterior-integrals" in changed(small, chain_mean=data.chain_mean + 0.02)
    assert "vae-trains-encoder-and-decoder-jointly" in changed(small, vae_end=data.vae_end + 0.1)
    assert np.isfinite(data.mixture).all()
