"""What must hold after a scenario, whatever it took: nobody got more than is allowed, nothing ran twice or was lost."""

from __future__ import annotations

from collections import Counter

from tests.load.fairness import Fairness
from tests.load.scenario import Scenario, Seen
from tests.load.stream import Flow


def faults(scenario: Scenario, seen: Seen) -> list[str]:
    """What does not hold, in sentences; empty when all does."""
    found: list[str] = []

    def must(true: bool, sentence: str) -> None:
        if not true:
            found.append(sentence)

    expected = Counter({"Succeeded": scenario.admitted, "Rejected": scenario.requests - scenario.admitted})
    must(seen.phases == +expected, f"phases are {dict(seen.phases)}, not {dict(+expected)}")
    twice = [run for run, count in seen.truth.created.items() if count > 1]
    must(not twice, f"{len(twice)} runs had more than one Job: {twice[:3]}")
    must(len(seen.truth.created) == scenario.admitted, f"{len(seen.truth.created)} runs had a Job")
    share = min(scenario.each, scenario.limit)
    for what, counts in (("runs", seen.truth.by_user), ("places in their window", seen.reserved)):
        wrong = {user: count for user, count in counts.items() if count != share}
        must(len(counts) == scenario.users and not wrong, f"{what} of users other than {share}: {dict(wrong)}")
    must(seen.truth.most_live <= scenario.slots, f"{seen.truth.most_live} were live at once, over {scenario.slots}")
    must(seen.slots_held == 0, f"{seen.slots_held} slots are held by nobody")
    must(seen.unsettled == 0, f"{seen.unsettled} places of runs that are over are not settled")
    return found


def stream_faults(flow: Flow) -> list[str]:
    """Everybody who applied got one run, which delivered."""
    found = []
    if flow.started != flow.applied:
        found.append(f"{flow.applied} requests had {flow.started} Jobs")
    if flow.ended != {"Succeeded": flow.applied}:
        found.append(f"phases are {flow.ended}, not {flow.applied} Succeeded")
    return found


def fairness_faults(fairness: Fairness) -> list[str]:
    """The flood has cost nobody else a call, nor the leader its Lease."""
    found = [
        f"{waits.refused} calls were refused: {name}"
        for name, waits in {**fairness.flood, "renewals of the operator's Lease": fairness.renewals}.items()
        if waits.refused
    ]
    if fairness.leaders != 1:
        found.append(f"{fairness.leaders} leaders, one after the other")
    return found
