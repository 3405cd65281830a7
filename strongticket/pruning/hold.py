"""Keep pruned weights at exactly zero while the others learn, whatever the optimiser."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from strongticket.mask import Mask

__all__ = ["Hold", "hold"]


def hold(module: nn.Module, mask: Mask) -> Hold:
    """Set pruned weights to zero and keep them there through any training, until the handle is removed.

    Three things are done. Gradients of pruned weights are zeroed as they arise, so that no optimiser, norm or clipping
    sees them. After every step of any torch optimiser the weights are zeroed again, and with them the optimiser's own
    tensors (momenta) at pruned places, which matters for one that had moved these weights before, and for weight decay.
    The same happens at each forward pass and after loading a state dict. What survives is decided by the mask alone: a
    survivor of either sign, or one that passes through exactly 0, goes on learning.

    Deep copies of the module are held as well, by a hold of their own, which ends with them or by `Hold.of(copy)`.
    State dicts hold plain weights with zeros, and none of this. Code that writes into weights between two steps is only
    noticed at the next of these occasions.

    Args:
        module: the network, changed in place: the one thing here that is, because optimisers point at its parameters.
        mask: what is kept of some of its parameters.

    Returns:
        The handle; `with hold(module, mask): ...` removes it at the end.

    Raises:
        KeyError: the mask has parameters that the module does not have.
        ValueError: shapes differ.

    >>> import torch
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> handle = hold(layer, Mask({"weight": torch.tensor([[True, False]])}))
    >>> optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    >>> for _ in range(3):
    ...     optimiser.zero_grad()
    ...     layer(torch.ones(1, 2)).sum().backward()
    ...     optimiser.step()
    >>> [value != 0 for value in layer.weight[0].tolist()]
    [True, False]
    >>> handle.remove()
    """
    parameters = dict(module.named_parameters())
    unknown = sorted(set(mask) - set(parameters))
    if unknown:
        raise KeyError(f"the mask has {unknown}, which are not among the module's parameters {list(parameters)}")
    for name, shape in mask.shapes.items():
        if tuple(parameters[name].shape) != shape:
            raise ValueError(f"the mask of {name} has shape {shape}, the parameter {tuple(parameters[name].shape)}")
    return Hold(module, {name: ~mask[name] for name in mask})


class Hold:
    """What keeps the pruned weights of one module at zero; made by `hold`.

    It is a hook of the module, which is how it comes along with deep copies.

    Args:
        module: the network.
        pruned: {parameter name: True where the weight stays 0}.
    """

    def __init__(self, module: nn.Module, pruned: dict[str, Tensor]) -> None:
        self._pruned = pruned
        self._gradient_hooks: dict[str, tuple[weakref.ref[nn.Parameter], RemovableHandle]] = {}
        self._module: Callable[[], nn.Module | None] = _nothing
        module.register_forward_pre_hook(self._forward)
        module.register_load_state_dict_post_hook(self._loaded)  # type: ignore[no-untyped-call]
        self._follow(module)
        self.enforce()

    @staticmethod
    def of(module: nn.Module) -> list[Hold]:
        """Return the holds on a module."""
        return [held for held in list(_HOLDS) if held._module() is module]

    def enforce(self) -> None:
        """Set the pruned weights to zero now, and see to the gradients of parameters that are new or newly trained."""
        module = self._module()
        if module is None:
            return
        for name, parameter in self._parameters(module).items():
            pruned = self._pruned[name] = self._pruned[name].to(parameter.device)
            parameter.data.masked_fill_(pruned, 0.0)
            if parameter.requires_grad:
                self._catch_gradient(name, parameter)

    def remove(self) -> None:
        """Let go: pruned weights learn again, from 0."""
        module = self._module()
        if module is not None:
            for hooks in (module._forward_pre_hooks, module._load_state_dict_post_hooks):
                for key in [key for key, hook in hooks.items() if getattr(hook, "__self__", None) is self]:
                    del hooks[key]
        for _, handle in self._gradient_hooks.values():
            handle.remove()
        self._gradient_hooks, self._module = {}, _nothing
        _HOLDS.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> Hold:
        """Return what holds the copy of the module; it takes hold of the parameters when these are there."""
        copied = Hold.__new__(Hold)
        memo[id(self)] = copied
        copied._pruned = {name: pruned.clone() for name, pruned in self._pruned.items()}
        copied._gradient_hooks, copied._module = {}, _nothing
        module = self._module()
        twin = None if module is None else memo.get(id(module))
        if twin is not None:
            copied._follow(twin)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {"pruned": self._pruned}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._pruned = state["pruned"]
        self._gradient_hooks, self._module = {}, _nothing

    def _follow(self, module: nn.Module) -> None:
        global _after_steps
        self._module = weakref.ref(module)
        _HOLDS.add(self)
        if _after_steps is None:
            _after_steps = register_optimizer_step_post_hook(_after_step)

    def _forward(self, module: nn.Module, inputs: Any) -> None:
        if self._module() is not module:
            self._follow(module)  # a module that was pickled and read again
        self.enforce()

    def _loaded(self, module: nn.Module, incompatible: Any) -> None:
        if self._module() is module:
            self.enforce()

    def _parameters(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Those parameters that are there: functional calls put other things in their places."""
        there = dict(module.named_parameters())
        return {name: there[name] for name in self._pruned if isinstance(there.get(name), nn.Parameter)}

    def _catch_gradient(self, name: str, parameter: nn.Parameter) -> None:
        known = self._gradient_hooks.get(name)
        if known is not None:
            if known[0]() is parameter:
                return
            known[1].remove()

        def zeroed(gradient: Tensor) -> Tensor:
            pruned = self._pruned[name].to(gradient.device)
            return _zeroed_entries(gradient, pruned) if gradient.is_sparse else gradient.masked_fill(pruned, 0.0)

        handle = parameter.register_hook(zeroed)  # type: ignore[no-untyped-call]
        self._gradient_hooks[name] = (weakref.ref(parameter), handle)

    def after(self, optimiser: Optimizer) -> None:
        """Undo what a step of an optimiser did to pruned weights, and what it would do in later steps."""
        module = self._module()
        if module is None:
            return
        moved = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
        mine = {name: p for name, p in self._parameters(module).items() if id(p) in moved}
        if not mine:
            return
        self.enforce()
        for name, parameter in mine.items():
            for value in optimiser.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                    value.masked_fill_(self._pruned[name].to(value.device), 0)


def _zeroed_entries(gradient: Tensor, pruned: Tensor) -> Tensor:
    """What a sparse gradient (of an embedding) is without its entries at pruned places."""
    gradient = gradient.coalesce()
    places = gradient.indices()
    values = gradient.values().masked_fill(pruned[tuple(places)], 0.0)
    return torch.sparse_coo_tensor(places, values, gradient.shape, is_coalesced=True, check_invariants=False)


def _nothing() -> None:
    return None


_HOLDS: weakref.WeakSet[Hold] = weakref.WeakSet()
_after_steps: RemovableHandle | None = None


def _after_step(optimiser: Optimizer, arguments: Any, keywords: Any) -> None:
    for held in list(_HOLDS):
        held.after(optimiser)
