"""One test for each setting of a training, which fails when the trainer ignores it or has it wrong.

`MUTATIONS` lists such mistakes; the slow test at the end makes each of them in a copy of the
package and asks that the test beside it fails.
"""

import math
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch")

import torch
from directions import Directions
from making import ROOT
from torch import nn
from torch.nn import functional

from eventkit.errors import OptionError
from eventkit.evaluate import evaluate
from eventkit.runs import Settings
from eventkit.snn import LIF, Dropout
from eventkit.train import load, train
from eventkit.train import loop as trainer
from eventkit.train.losses import loss
from eventkit.train.optim import Average, Lamb, Now, schedule
from eventkit.train.rules import Step, rule

PLAIN = {"optimizer": "sgd:momentum=0", "schedule": "constant", "warmup": 0.0, "clip": 0.0,
         "weight_decay": 0.0, "augment": ["none"], "lr": 0.1, "batch": 8, "epochs": 1,
         "validation": 0.0, "page": False, "precision": "float32"}  # fmt: skip


def small(seed=0, inputs=288, classes=4):
    """A network that keeps nothing of a batch: no batch norm, no dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(2), nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, classes))


def fit(tmp_path, *, splits=None, net=None, out="run", **options):
    net = net or small()
    splits = splits or {"train": Directions(24)}
    result = train(splits, model=net, out=tmp_path / out, **PLAIN | options)
    return net, result


@pytest.fixture
def targets(monkeypatch):
    """The targets (N, classes) that the loss gets, one for each batch."""
    seen = []

    def spied(spec):
        of = loss(spec)
        return lambda votes, target, lengths: seen.append(target) or of(votes, target, lengths)

    monkeypatch.setattr(trainer, "loss", spied)
    return seen


@pytest.fixture
def steps(monkeypatch):
    """Learning rate and norm of the gradient of every step of SGD."""
    seen, step = [], torch.optim.SGD.step

    def spied(self, *args):
        gradients = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        norm = float(torch.stack(gradients).norm())
        seen.append((self.param_groups[0]["lr"], norm))
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", spied)
    return seen


def test_the_rate_of_every_step_follows_the_schedule(steps, tmp_path):
    fit(tmp_path, schedule="cosine", warmup=0.25, epochs=2)
    rate = schedule("cosine", warmup=0.25)
    assert [lr for lr, _ in steps] == pytest.approx([0.1 * rate(Now(k / 6)) for k in range(6)])


def test_gradients_are_clipped_to_the_norm(steps, tmp_path):
    fit(tmp_path, out="free", clip=0.0)
    assert min(norm for _, norm in steps) > 0.01
    steps.clear()
    fit(tmp_path, clip=1e-3)
    assert [norm for _, norm in steps] == pytest.approx([1e-3] * 3, rel=1e-3)


def test_modules_with_a_schedule_are_told_the_share_that_is_done(tmp_path):
    told = []

    class Annealed(nn.Identity):
        def anneal(self, done):
            told.append(done)

    fit(tmp_path, net=nn.Sequential(*small(), Annealed()), epochs=2)
    assert told == pytest.approx([k / 6 for k in range(6)])


def test_labels_are_smoothed(targets, tmp_path):
    fit(tmp_path, smoothing=0.2)
    for target in targets:
        assert sorted(target[0].tolist()) == pytest.approx([0.05, 0.05, 0.05, 0.85])
        torch.testing.assert_close(target.sum(1), torch.ones(len(target)))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_as_their_frames_are(kind, targets, tmp_path):
    """All values of a sample of class k are k + 1, so a mixture has the mean of its label."""
    data, means = Directions(24), []
    data.frames = (torch.as_tensor(data.labels) + 1.0).reshape(-1, 1, 1, 1, 1).expand(
        24, 8, 2, 12, 12)  # fmt: skip
    net = small()
    net.register_forward_pre_hook(
        lambda module, x: means.append(x[0].mean((0, 2, 3, 4))) if module.training else None
    )
    fit(tmp_path, splits={"train": data}, net=net, **{kind: 1.0})
    assert any(bool(((target > 0).sum(1) == 2).any()) for target in targets)
    for mean, target in zip(means, targets, strict=True):
        torch.testing.assert_close(mean, target @ torch.arange(1.0, 5.0))


def test_accumulated_batches_are_the_batch_that_they_make_up(tmp_path):
    """Also where the last one is smaller: 24 samples in passes of 16 and 8."""
    whole, _ = fit(tmp_path, out="whole", batch=24)
    parts, _ = fit(tmp_path, out="parts", batch=16, accumulate=2)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(small()[1].weight, whole[1].weight)


def test_distillation_is_the_divergence_times_the_temperature_squared():
    net, teacher, share, t = small(), small(1), 0.3, 4.0
    settings = Settings(distill=share, temperature=t)
    training = trainer.Training(net, torch.optim.SGD(net.parameters()), Average(net, 0), settings,
                                4, teacher=teacher)  # fmt: skip
    frames, lengths = torch.rand(5, 8, 2, 12, 12), torch.full((5,), 8)
    target = trainer.targets(torch.arange(5) % 4, 4)
    votes = net(frames.transpose(0, 1))
    found = training._criterion(frames, target, lengths, 1.0, torch.zeros(5, 4))(votes, 0)
    with torch.no_grad():
        p = (teacher(frames.transpose(0, 1)).mean(0) / t).softmax(1)
    q = (votes.mean(0) / t).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    hard = functional.cross_entropy(votes.mean(0), target)
    torch.testing.assert_close(found, (1 - share) * hard + share * t * t * divergence)


def test_a_step_of_lamb_is_as_long_as_the_tensor_times_the_rate():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = Lamb([weight])
    optimizer.param_groups[0]["lr"] = 0.1
    weight.grad = torch.tensor([1.0, -2.0])
    before = weight.detach().clone()
    optimizer.step()
    step = before - weight.detach()
    assert float(step.norm()) == pytest.approx(0.1 * 5, rel=1e-4)
    torch.testing.assert_close(step / step.norm(), torch.tensor([1.0, -1.0]) / math.sqrt(2))


@pytest.mark.parametrize("spec", ["checkpoint:chunks=4", "tbptt:window=2", "sltt", "ottt"])
def test_all_windows_of_a_sequence_have_the_same_dropout_mask(spec):
    votes = []
    net = nn.Sequential(nn.Flatten(2), Dropout(0.5), nn.Linear(32, 32, bias=False))
    nn.init.eye_(net[2].weight)

    def criterion(said, first):
        votes.append(said.detach())
        return said.mean()

    torch.manual_seed(0)
    rule(spec)(Step(net, criterion), torch.ones(8, 1, 2, 4, 4))
    mask = torch.cat(votes)
    assert len(mask) == 8
    assert 0 < int((mask[0] == 0).sum()) < 32
    assert torch.equal(mask, mask[:1].expand_as(mask))


def test_the_filter_of_the_kernel_loss_decays():
    votes = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)
    found = loss("kernel:desired=0,undesired=0,tau=2")(votes, torch.ones(1, 1), torch.tensor([3]))
    assert float(found) == pytest.approx(sum((0.5**k / 2) ** 2 for k in range(3)) / 2)


def test_the_gradient_of_ce_plus_is_shared_by_the_spikes():
    votes = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]).reshape(4, 1, 2)
    votes.requires_grad_()
    target = torch.tensor([[1.0, 0.0]])
    loss("ce_plus")(votes, target, torch.tensor([4])).backward()
    logits = torch.tensor([2 * 3 / 4, 2 * 2 / 4])
    by_logit = 4 / 2 * (logits.softmax(0) - target[0])  # of L = T/2 CE
    torch.testing.assert_close(votes.grad[:, 0], by_logit / logits * votes.detach()[:, 0])


def test_energy_counts_macs_of_analog_input_and_acs_of_spikes():
    net = nn.Sequential(nn.Flatten(2), nn.Linear(4, 3, bias=False), LIF(), nn.Linear(3, 2))
    nn.init.constant_(net[1].weight, 10.0)  # all neurons fire in every step
    frames = torch.linspace(0.5, 0.6, 40).reshape(2, 5, 1, 2, 2)
    found = evaluate(net, [(frames, torch.tensor([0, 1]))], classes=["a", "b"])["energy"]
    macs, acs = 5 * 4 * 3, 5 * 3 * 2
    assert found["microjoules"] == pytest.approx((4.6 * macs + 0.9 * acs) / 1e6)
    assert found["microjoules_if_dense"] == pytest.approx(4.6 * (macs + acs) / 1e6)


def test_class_weights_make_rare_classes_count_as_much(tmp_path):
    """A class with a fifth of the samples, weighted, gives the gradient of equally many."""
    data = Directions(24)
    data.classes, data.labels = ["a", "b"], (torch.arange(24) % 6 == 0).long().numpy()
    found, _ = fit(tmp_path, splits={"train": data}, net=small(classes=2), batch=24,
                   class_weights=True)  # fmt: skip
    net, labels = small(classes=2), torch.as_tensor(data.labels)
    votes = net(data.frames.transpose(0, 1)).mean(0)
    each = functional.cross_entropy(votes, labels, reduction="none")
    ((each[labels == 0].mean() + each[labels == 1].mean()) / 2).backward()
    for a, b in zip(found.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b - 0.1 * b.grad)


def test_a_training_begins_with_the_weights_of_another_run_but_for_a_new_head(tmp_path):
    fit(tmp_path, out="first", net=small(1))
    first = load(tmp_path / "first", model=small())
    data = Directions(24)
    data.classes, data.labels = ["a", "b"], data.labels % 2
    options = {"splits": {"train": data}, "lr": 1e-9, "init": str(tmp_path / "first")}
    found, _ = fit(tmp_path, net=small(2, classes=2), **options)
    torch.testing.assert_close(found[1].weight, first[1].weight)
    torch.testing.assert_close(found[3].weight, small(2, classes=2)[3].weight)
    with pytest.raises(OptionError, match=r"init is .*: 1\.bias differs, expected the same"):
        fit(tmp_path, out="wrong", net=nn.Sequential(nn.Flatten(2), nn.Linear(288, 5),
            nn.Tanh(), nn.Linear(5, 2)), **options)  # fmt: skip
    assert not (tmp_path / "wrong").exists()


def test_without_test_the_test_split_is_never_read(tmp_path):
    class Untouched(Directions):
        def __getitems__(self, indices):
            raise AssertionError("read")

    splits = {"train": Directions(24), "test": Untouched(8)}
    _, result = fit(tmp_path, splits=splits, test=False, validation=0.2, page=True)
    assert result["samples"].keys() == {"train", "validation"}
    assert result["accuracy"] == {"last": None, "at_best_validation": None, "best_optimistic": None}


def test_the_training_accuracy_is_that_of_the_votes_of_the_epoch(tmp_path):
    """With a rate of almost 0 the net stays as it is: accuracy as in an evaluation."""
    data = Directions(24)
    fit(tmp_path, splits={"train": data}, lr=1e-9, method="tbptt:window=3")
    votes = load(tmp_path / "run", model=small())(data.frames.transpose(0, 1)).mean(0)
    right = float((votes.argmax(1) == torch.as_tensor(data.labels)).float().mean())
    (head, row) = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert float(dict(zip(head.split(","), row.split(","), strict=True))["accuracy"]) == right


def test_firing_rates_are_in_the_metrics(tmp_path):
    net = nn.Sequential(nn.Flatten(2), nn.Linear(288, 6), LIF(), nn.Linear(6, 4))
    fit(tmp_path, net=net, validation=0.2)
    (head, row) = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    layers = (tmp_path / "run" / "layers.csv").read_text()
    rate = dict(zip(head.split(","), row.split(","), strict=True))["rate"]
    assert rate in layers


# What is wrong, where, what stands there, what instead, and the test that fails.
MUTATIONS = [
    ("schedule ignored", "train/loop.py", 'group["full"] * self.factor', 'group["full"]',
     "test_the_rate_of_every_step"),
    ("clipping ignored", "train/loop.py", "self.settings.clip or math.inf", "math.inf",
     "test_gradients_are_clipped"),
    ("anneal never called", "train/loop.py", "anneal(self.net, done)", "pass",
     "test_modules_with_a_schedule"),
    ("smoothing ignored", "train/loop.py", "* (1 - smoothing) + smoothing / classes", "* 1.0",
     "test_labels_are_smoothed"),
    ("labels unmixed", "train/data.py", "target = share * target + (1 - share) * target[other]",
     "pass", "test_labels_are_mixed"),
    ("accumulation unweighted", "train/loop.py", "len(target) / samples",
     "1 / self.settings.accumulate", "test_accumulated_batches"),
    ("T squared dropped", "train/loop.py", "s.distill * s.temperature**2 * divergence",
     "s.distill * divergence", "test_distillation"),
    ("trust ratio 1", "train/optim.py", "own / length if own and length else 1.0", "1.0",
     "test_a_step_of_lamb"),
    ("a mask for each window", "train/rules/_step.py", "torch.set_rng_state(random)", "pass",
     "test_all_windows"),
    ("kernel without decay", "train/losses.py", "u = u * (1 - 1 / tau) + now", "u = u + now",
     "test_the_filter_of_the_kernel"),
    ("gradient of ce_plus", "train/losses.py", "by_logit / logits, 0", "by_logit, 0",
     "test_the_gradient_of_ce_plus"),
    ("energy of a MAC", "evaluate/__init__.py", "MAC_PJ, AC_PJ = 4.6, 0.9",
     "MAC_PJ, AC_PJ = 46.0, 0.9", "test_energy_counts"),
    ("class weights ignored", "train/loop.py", "if self.weights is not None:", "if False:",
     "test_class_weights"),
    ("init ignored", "train/job.py", "start_from(net, s.init)", "pass",
     "test_a_training_begins"),
    ("test read anyway", "train/data.py", 'if test else ("train", "validation")',
     'if True else ("train", "validation")', "test_without_test"),
]  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package and its tests elsewhere, to be changed."""
    root = tmp_path_factory.mktemp("mutated")
    shutil.copytree(ROOT / "eventkit", root / "eventkit",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    for name in ("cli", "datasets_meta", "tests", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("where", "old", "new", "test"), [m[1:] for m in MUTATIONS],
                         ids=[m[0] for m in MUTATIONS])  # fmt: skip
def test_each_mutation_is_caught(where, old, new, test, copy):
    path = copy / "eventkit" / where
    source = path.read_text()
    assert source.count(old) == 1, f"{where} has changed: mend MUTATIONS"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", test,
               "tests/test_train_mutations.py"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    path.write_text(source.replace(old, new))
    try:
        done = subprocess.run(
            command, cwd=copy, env=env, capture_output=True, text=True, check=False
        )
    finally:
        path.write_text(source)
    assert done.returncode == 1, done.stdout[-2000:]
    assert " failed" in done.stdout
