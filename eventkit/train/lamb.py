"""LAMB, which the recipes of spiking transformers use and torch does not have."""

from typing import Any

import torch


class Lamb(torch.optim.Optimizer):
    """Adam whose step for a tensor is as long as the tensor itself, times the rate.

    r = m / (sqrt(v) + eps) + decay w, both moments without bias; w -= lr |w|/|r| r, and lr r where
    one of the lengths is 0. You et al., Large Batch Optimization for Deep Learning, ICLR 2020.
    """

    def __init__(
        self, params: Any, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6
    ) -> None:
        defaults = {"lr": 1.0, "betas": betas, "eps": eps, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change all parameters that have a gradient."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                    state["m"] = torch.zeros_like(parameter)
                    state["v"] = torch.zeros_like(parameter)
                state["step"] += 1
                n = float(state["step"])
                state["m"].lerp_(parameter.grad, 1 - beta1)
                state["v"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                second = (state["v"] / (1 - beta2**n)).sqrt_().add_(group["eps"])
                r = state["m"] / (1 - beta1**n) / second + group["weight_decay"] * parameter
                own, length = float(parameter.norm()), float(r.norm())
                trust = own / length if own and length else 1.0
                parameter.add_(r, alpha=-group["lr"] * trust)
