"""`python -m theory` in-process: output, exit codes, JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import theory
from theory.__main__ import main


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(theorem.key in text for theorem in theory.all())
    assert main(["list", "--json"]) == 0
    assert {row["key"] for row in json.loads(capsys.readouterr().out)} == {t.key for t in theory.all()}


@pytest.mark.parametrize("theorem", theory.all(), ids=lambda theorem: theorem.key)
def test_show(theorem: theory.Theorem, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", theorem.key]) == 0
    text = capsys.readouterr().out
    for part in ("Hypotheses", "Status", "LaTeX", theorem.bounds[0].latex(), *(step.name for step in theorem.steps)):
        assert part in text
    assert "FAILED" not in text


def test_a_failed_step_is_said_and_sets_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = theory.get("pensia2020optimal.theorem1")
    false = theory.ProofStep("planted", "1 = 2", lambda: 1 == 2)
    # as a step of its own, and as one of a lemma
    for broken in (replace(whole, steps=(false,)), replace(whole, lemmas=(replace(whole.lemmas[0], steps=(false,)),))):
        monkeypatch.setattr(theory, "all", lambda broken=broken: (broken,))
        for args in (["show", whole.key], ["list"]):
            for extra in ([], ["--json"]):
                assert main([*args, *extra]) == 1
                text = capsys.readouterr().out
                assert "planted" in text
                assert "FAILED" in text or extra


def test_list_counts_own_steps_and_those_of_lemmas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    row = {row["key"]: row for row in json.loads(capsys.readouterr().out)}["pensia2020optimal.theorem1"]
    theorem, lemma = (theory.get(key) for key in (row["key"], "lueker1998exponentially.explicit"))
    assert row["steps"] == len(theorem.steps)
    assert row["lemmas"] == {lemma.key: len(lemma.steps)}
    assert row["failed_steps"] == []
    assert not {step.name for step in theorem.steps} & {step.name for step in lemma.steps}


def test_show_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "pensia2020optimal", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["bounds"][0]["unspecified"] == ["C"]
    assert all(step["passed"] for step in first["steps"] + second["steps"])


def test_check_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    key = "lueker1998exponentially.explicit"
    assert main(["check", key, "--trials", "100", "--eps", "0.05", "--delta", "0.05"]) == 0
    assert "holds so far" in capsys.readouterr().out
    assert main(["check", key, "--trials", "100", "--set", "items=8"]) == 1
    assert "falsified" in capsys.readouterr().out
    assert main(["check", key, "--trials", "100", "--factor", "12", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "FALSIFIED"
    assert main(["check", key, "--trials", "1"]) == 3
    # of a paper, the worst verdict counts
    assert main(["check", "lueker1998exponentially", "--trials", "100", "--eps", "0.05"]) == 0


def test_check_looseness(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "lueker1998exponentially.explicit", "--trials", "60", "--looseness", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert found["largest_not_falsified"] < found["falsified_at"]


def test_check_prints_how_loose_the_bound_is_or_that_nothing_broke_it(capsys: pytest.CaptureFixture[str]) -> None:
    key = "lueker1998exponentially.explicit"
    assert main(["check", key, "--trials", "120", "--eps", "0.05"]) == 0
    assert "falsified at" in capsys.readouterr().out
    assert main(["check", key, "--trials", "120", "--eps", "0.05", "--json"]) == 0
    verdict, table = json.loads(capsys.readouterr().out)
    assert verdict["verdict"] == "HOLDS_SO_FAR"
    assert [row["factor"] for row in table["rows"]][:2] == [1.0, 2.0]
    assert table["rows"][0]["trials"] == 120
    assert 1.0 <= table["largest_not_falsified"] < table["falsified_at"]
    assert main(["check", key, "--trials", "120", "--eps", "0.05", "--twins", "0"]) == 0
    assert "divided by a factor" not in capsys.readouterr().out
    assert main(["check", key, "--trials", "120", "--eps", "0.05", "--twins", "2"]) == 0  # too few to tell
    assert "no factor broke it, by 2 trials each" in capsys.readouterr().out


def test_twins_end_where_time_does() -> None:
    theorem = theory.get("lueker1998exponentially.explicit")
    table = theorem.looseness(trials=3, factors=(1.0, 2.0, 4.0), seconds=1e-9)
    assert len(table.rows) == 1
    assert "time was up at 1" in table.text()
    assert table.to_json()["ended"] == "time was up"


def test_list_shows_every_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = theory.find("lueker1998exponentially")[:2]
    monkeypatch.setattr(theory, "all", lambda: few)
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(theorem.status in text for theorem in few)


@pytest.mark.parametrize(
    "args",
    [
        ["check", "lueker1998exponentially.explicit", "--twins", "-1"],
        ["check", "nobody2000coins"],
        ["check", "lueker1998exponentially.explicit", "--eps", "0"],
        ["check", "lueker1998exponentially.explicit", "--delta", "1"],
        ["check", "lueker1998exponentially.explicit", "--eps", "nan"],
        ["check", "lueker1998exponentially.explicit", "--set", "items"],
        ["check", "lueker1998exponentially.explicit", "--set", "colour=red"],
        ["check", "lueker1998exponentially.explicit", "--trials", "0"],
        ["show", "nobody2000coins"],
    ],
)
def test_usage_errors(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_unparsable_arguments_exit_with_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", "--trials", "many", "pensia2020optimal"])
    assert caught.value.code == 2


def test_a_theorem_without_a_claim_cannot_be_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = theory.get("lueker1998exponentially.explicit")
    monkeypatch.setattr(theory, "all", lambda: (replace(whole, claim=None),))
    assert main(["check", whole.key]) == 2
    assert capsys.readouterr().err.startswith("error: ")
