"""SpikingJelly's side of benchmarks/nmnist.py: python peer_nmnist.py SAMPLES.npz EPOCHS SEED

Its own NMNISTNet (c128, PLIF) and recipe: Adam 1e-3, cosine over 64 epochs, mean squared error of
the firing rate, batches of 32, frames as they are.
"""

import json
import sys
import time

import numpy as np
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based.model import parametric_lif_net


def main(file: str, epochs: int, seed: int) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    data = {key: torch.from_numpy(array) for key, array in np.load(file).items()}
    net = parametric_lif_net.NMNISTNet(
        channels=128, spiking_neuron=neuron.ParametricLIFNode,
        surrogate_function=surrogate.ATan(), detach_reset=True,
    )  # fmt: skip
    functional.set_step_mode(net, "m")
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=64)
    labels, test_labels = data["train_labels"].long(), data["test_labels"].long()
    start, accuracies = time.monotonic(), []
    for _ in range(epochs):
        net.train()
        order = rng.permutation(len(labels))
        for first in range(0, len(order), 32):
            chosen = order[first : first + 32]
            rate = net(data["train"][chosen].transpose(0, 1)).mean(0)
            target = torch.nn.functional.one_hot(labels[chosen], 10).float()
            loss = torch.nn.functional.mse_loss(rate, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            functional.reset_net(net)
        schedule.step()
        net.eval()
        right = 0
        with torch.inference_mode():
            for first in range(0, len(test_labels), 32):
                rate = net(data["test"][first : first + 32].transpose(0, 1)).mean(0)
                right += int((rate.argmax(1) == test_labels[first : first + 32]).sum())
                functional.reset_net(net)
        accuracies.append(right / len(test_labels))
    print(json.dumps({
        "accuracy": {"last": accuracies[-1], "best_optimistic": max(accuracies)},
        "epochs": len(accuracies), "seconds": time.monotonic() - start,
        "parameters": sum(p.numel() for p in net.parameters()),
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
