"""The experiment on attention: what it reports is consistent, and its tokens are the image's."""

from __future__ import annotations

import numpy as np
import torch

from experiments.attention_tickets import AttentionTickets, _tokens


def test_tokens_are_rows_and_squares() -> None:
    digits = torch.arange(128.0).reshape(2, 1, 8, 8)
    assert torch.equal(_tokens(digits, "digits")[1], digits[1, 0])
    images = torch.arange(2 * 784.0).reshape(2, 1, 28, 28)
    squares = _tokens(images, "mnist")
    assert torch.equal(squares[1, 7 * 2 + 3], images[1, 0, 8:12, 12:16].reshape(-1))


def test_a_small_run_is_a_strict_certified_ticket() -> None:
    run = AttentionTickets(layers=1, dim=16, hidden=8, epochs=2, items=16, weight_eps=0.05, inputs=20)
    result = run.run()
    assert result["strict_check"]
    assert result["construction"]["unreached"] == 0
    assert abs(result["target_accuracy"] - result["ticket_accuracy"]) <= 0.01
    assert result["largest_change"] <= result["largest_proved_change"] <= result["proved_error_box"]
    assert result["sampled_error_box"] <= result["proved_error_box"]
    assert result["proved_equal_predictions"] <= 1.0
    assert np.isfinite(result["logit_range"])
    row = AttentionTickets.table([(run, result)])[0]
    assert row["unreached"] == 0
    assert row["target"] == "attention-l1-d16-h2-k8-v8-f8-p8-t8"
    assert all(run.spec for preset in AttentionTickets.presets().values() for run in preset)
