"""The experiment that runs every proof on one trained network."""

from __future__ import annotations

import pytest

from experiments.proofs import PROOFS, Proof, Proofs


@pytest.mark.parametrize("proof", PROOFS)
def test_each_proof_gives_a_certified_ticket_of_the_digits(proof: Proof) -> None:
    run = Proofs("digits", "mlp-64-8-10", proof, weight_eps=0.05, seed=3)
    result = run.run()
    assert result["strict_check"]
    assert 0 < result["largest_logit_change"] <= result["proved_error"] + 1e-3  # the float32 pass rounds
    assert abs(result["ticket_accuracy"] - result["target_accuracy"]) <= 1 - result["equal_predictions"] + 1e-9
    assert result["construction"]["source_weights"] > 64 * 8 + 8 * 10
    row = Proofs.table([(run, result)])[0]
    assert row["proof"] == proof
    assert row["equal %"] == 100 * result["equal_predictions"]


def test_an_unknown_network_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="inputs"):
        Proofs("digits", "lenet-300-100").run()
