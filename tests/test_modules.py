"""The STRF unit with every option, the unit without FAM, and the non-local block."""

import copy
import itertools
import pickle

import pytest
import torch

from strf_cuda import STRF, InputError, factorized_attention
from strf_cuda.modules import INTEGRATIONS, PATHS, GramUnit, NonLocalBlock

SUBSETS = [subset for size in range(1, 5) for subset in itertools.combinations(PATHS, size)]
WINDOWS = {
    "temporal_dynamic": (1, 1, 1),
    "temporal_static": (3, 1, 1),
    "spatial_fine": (1, 1, 1),
    "spatial_coarse": (1, 3, 3),
}


def unit(channels=4, reduction=2, **options):
    torch.manual_seed(0)
    return STRF(channels, reduction=reduction, **options).double()


def clip(batch=1, channels=4, frames=2, height=2, width=3):
    return torch.randn(batch, channels, frames, height, width, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("paths", SUBSETS, ids="+".join)
@pytest.mark.parametrize(
    ("pool", "similarity"),
    [("max", "cosine"), ("avg", "dot"), (("max", "avg"), "dot"), (("avg", "max"), "cosine")],
    ids=str,
)
@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_gradcheck_of_every_path_subset_pool_and_integration(paths, pool, similarity, integration):
    module = unit(paths=paths, pool=pool, similarity=similarity, integration=integration)
    torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(module, {"weight": weight}, (x,)),
        (clip().requires_grad_(), module.weight),
    )


@pytest.mark.parametrize("integration", INTEGRATIONS)
@pytest.mark.parametrize("paths", SUBSETS, ids="+".join)
def test_integration_is_the_calls_that_equation_8_names(integration, paths):
    module, x = unit(paths=paths, integration=integration), clip()
    weights = dict(zip(module.paths, module.weight, strict=True))

    def half(x, names):
        names = [name for name in names if name in paths]
        if not names:
            return x
        return factorized_attention(x, torch.stack([weights[n] for n in names]), [WINDOWS[n] for n in names])

    expected = {
        "temporal_spatial": lambda: half(half(x, PATHS[:2]), PATHS[2:]),
        "spatial_temporal": lambda: half(half(x, PATHS[2:]), PATHS[:2]),
        "parallel": lambda: half(x, PATHS),
    }[integration]()
    torch.testing.assert_close(module(x), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "similarity", "temperature"),
    [({}, "cosine", 16.0), ({"similarity": "dot"}, "dot", 4.0), ({"temperature": 5.0}, "cosine", 5.0)],
)
def test_similarity_and_temperature_reach_the_operator(options, similarity, temperature):
    module, x = unit(integration="parallel", **options), clip()
    asked = {"similarity": similarity, "temperature": temperature}
    assert torch.equal(module(x), factorized_attention(x, module.weight, list(WINDOWS.values()), **asked))
    assert f"similarity={similarity}, temperature={temperature}" in repr(module)


@pytest.mark.parametrize("resolutions", [(1, 1), (1, 3), (1, 5), (3, 5)])
def test_resolutions_set_the_windows_of_the_four_paths(resolutions):
    fine, coarse = resolutions
    module = unit(resolutions=resolutions)
    assert module.pools == [(fine, 1, 1), (coarse, 1, 1), (1, fine, fine), (1, coarse, coarse)]
    assert module(clip(height=7, width=6, frames=5)).shape == (1, 4, 5, 7, 6)


def test_mixed_pools_go_to_the_temporal_and_the_spatial_paths():
    assert unit(pool=("avg", "max")).pool_kinds == ["avg", "avg", "max", "max"]


@pytest.mark.parametrize(("channels", "stages"), [(128, 2), (256, 3)])
def test_parameters_of_a_unit_are_those_of_table_2(channels, stages):
    assert sum(p.numel() for p in STRF(channels).parameters()) == 4 * channels**2 // 16
    assert 2 * 4 * 128**2 // 16 + 3 * 4 * 256**2 // 16 == 57_344


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_recompute_gives_the_same_gradients(integration):
    module, x = unit(integration=integration), clip(batch=2)
    recomputing = unit(integration=integration, recompute=True)
    gradients = []
    for m in (module, recomputing):
        leaf = x.clone().requires_grad_()
        m(leaf).square().sum().backward()
        gradients.append((leaf.grad, m.weight.grad))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_recompute_holds_nothing_but_the_input():
    module, x = unit(recompute=True), clip().requires_grad_()
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.shape) or t, lambda t: t):
        module(x)
    assert [shape for shape in held if 0 not in shape] == [x.shape]  # torch 2.10 adds an empty tensor


def test_a_unit_can_be_copied_and_pickled():
    module, x = unit(), clip()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), module(x))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(channels=100, reduction=16), "100 channels are not divisible by the reduction 16"),
        (dict(channels=8, reduction=0), "8 channels are not divisible by the reduction 0"),
        (dict(integration="paralel"), "integration is 'paralel', .*; did you mean parallel"),
        (dict(paths=()), "at least one"),
        (dict(paths=("spatial_fine", "spatial_fine")), "none twice"),
        (dict(paths=("spatial_fin",)), "path is 'spatial_fin', .*; did you mean spatial_fine"),
        (dict(resolutions=(1, 4)), r"pool window \(4, 1, 1\) must be three odd"),
        (dict(resolutions=(1,)), r"resolutions are \(1,\), but there must be two"),
        (dict(pool=("max", "avg", "max")), "one name or two"),
        (dict(pool="mean"), "pool is 'mean', but it must be max or avg"),
        (dict(similarity="cosin"), "similarity is 'cosin', but it must be dot or cosine; did you mean cosine"),
        (dict(temperature=0), "temperature is 0, but for similarity cosine it must be above 0"),
    ],
)
def test_bad_options_are_refused_with_their_value(options, sentence):
    with pytest.raises(InputError, match=sentence):
        STRF(options.pop("channels", 32), **options)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_unit_without_fam_is_x_times_its_gram_matrix_and_never_grows(channels_last):
    x = clip(batch=2, channels=6)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    rows = x.reshape(2, 12, 6)
    expected = rows @ rows.mT @ rows / rows.square().sum((1, 2), keepdim=True)
    out = GramUnit()(x)
    torch.testing.assert_close(out, expected.view(x.shape), rtol=1e-13, atol=1e-13)
    assert out.stride() == x.stride()
    huge = GramUnit()(x.float() * 1e15)
    assert huge.isfinite().all() and huge.norm() <= 1.0001 * (x.float() * 1e15).norm()
    assert torch.equal(GramUnit()(torch.zeros_like(x)), torch.zeros_like(x))
    torch.autograd.gradcheck(GramUnit(), (x.requires_grad_(),))


def test_the_non_local_block_starts_as_the_identity_and_attends_as_written():
    torch.manual_seed(0)
    block, x = NonLocalBlock(4).double(), clip(batch=2, height=4, width=5)
    assert torch.equal(block(x), x)
    block.norm.weight.data.fill_(1.0)
    theta, phi, g = (conv(x) for conv in (block.theta, block.phi, block.g))
    phi, g = (torch.nn.functional.max_pool3d(t, (1, 2, 2)).flatten(2) for t in (phi, g))
    attention = torch.softmax(theta.flatten(2).mT @ phi, -1)
    y = (attention @ g.mT).mT.view(2, 2, 2, 4, 5)
    torch.testing.assert_close(block(x), x + block.norm(block.out(y)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "parameters"), [(512, 526_592), (1024, 2_101_760)])
def test_parameters_of_a_non_local_block(channels, parameters):
    assert sum(p.numel() for p in NonLocalBlock(channels).parameters()) == parameters


def test_a_module_of_before_there_were_cosines_computes_dot_products():
    old = unit(similarity="dot")
    del old.__dict__["similarity"]  # as it is unpickled
    x = torch.randn(1, 4, 2, 3, 3, dtype=torch.float64)
    new = unit(similarity="dot")
    new.load_state_dict(old.state_dict())
    assert torch.equal(old(x), new(x)) and "similarity=dot" in repr(old)
