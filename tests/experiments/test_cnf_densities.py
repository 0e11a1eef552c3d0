"""The claims of experiments/cnf, on flows trained for a few seconds."""

import pytest
import torch
from running import experiment

run = experiment("cnf")
STEPS = 250


@pytest.fixture(scope="module")
def gaussians():
    """Eight gaussians: points not trained on, and each flow after a short training."""
    torch.manual_seed(0)
    target = run.eight_gaussians()
    points, test = target.sample((5000,)), target.sample((2000,))
    flows = {}
    for kind in ("cnf", "maf"):
        torch.manual_seed(0)
        flows[kind] = run.FLOWS[kind]()
        run.fit(flows[kind], points, STEPS)
    return target, test, flows


@pytest.mark.slow
def test_a_cnf_is_near_the_truth_and_ahead_of_an_affine_flow_of_equal_size(gaussians):
    target, test, flows = gaussians
    scores = {kind: run.score(flow, test) for kind, flow in flows.items()}
    truth = float(target.log_prob(test).mean())
    assert scores["maf"] + 0.1 < scores["cnf"] < truth + 0.02
    assert truth - scores["cnf"] < 0.25
    sizes = [sum(p.numel() for p in flow.parameters()) for flow in flows.values()]
    assert max(sizes) < 1.05 * min(sizes)


@pytest.mark.slow
def test_its_density_integrates_to_one(gaussians):
    flow = run.precise(gaussians[2]["cnf"])
    assert abs(run.integral(flow, 0.2) - 1) < 0.01


@pytest.mark.slow
def test_a_fine_solver_inverts_it(gaussians):
    _, test, flows = gaussians
    few = test[:200].double()
    assert run.inversion_error(run.precise(flows["cnf"]), few) < 1e-5
    coarse = run.inversion_error(run.precise(flows["cnf"], run.TRAINED_BY), few)
    assert coarse > 1e-5  # the solver's error and not another's


@pytest.mark.slow
def test_the_estimated_trace_is_unbiased(gaussians):
    _, test, flows = gaussians
    torch.manual_seed(0)
    flow = run.precise(flows["cnf"], run.TRAINED_BY)
    mean, error, deviation = run.hutchinson(flow, test[:100].double(), 20)
    assert abs(mean) < 4 * error
    assert deviation > 0.05


def test_the_moons_are_scikit_learns():
    from sklearn.datasets import make_moons

    moons, _ = make_moons(20_000, noise=0.1, random_state=0)
    target = run.two_moons()
    theirs = target.log_prob(2 * torch.tensor(moons, dtype=torch.float32) - torch.tensor([1.0, 0.5]))
    torch.manual_seed(0)
    own = target.log_prob(target.sample((20_000,)))
    assert abs(theirs.mean() - own.mean()) < 0.02
