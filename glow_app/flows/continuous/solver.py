"""Numerical solution of the equation of a continuous flow, by torchdiffeq."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from glow_app.errors import UserError
from glow_app.flows.search import SearchFailed

ADAPTIVE, FIXED = ("dopri5", "dopri8", "bosh3"), ("euler", "midpoint", "rk4")
METHODS = (*ADAPTIVE, *FIXED)
"""Methods with steps of their own choice, and methods with as many steps as they are told."""

MOST_STEPS = 2000
"""Steps of an adaptive method that end a solve: the equation has become too stiff."""

FLOOR = 8.0
"""Smallest relative tolerance in units of the dtype's eps; below it, steps are rejected for rounding."""

Derivative = Callable[[Tensor, Tensor], Tensor]
"""The right-hand side ``f(t, state)``: (B, N), of a scalar and (B, N)."""


class NotSolved(SearchFailed):
    """A solve did not reach its end: the equation is too stiff, or its state is not finite."""


@dataclass(frozen=True)
class Solver:
    """A Runge-Kutta method and how exact it is.

    An adaptive method chooses its steps so that the error of each, as it estimates it, is at most
    ``atol + rtol |state|`` in the root mean square over a sample's numbers, for the worst sample of the batch, and for
    each of its integrals. Steps are shared by a batch, so a sample's result may depend on the others of its batch, by
    about the tolerance; with a fixed method it does not.

    Attributes:
        method: an adaptive method, ``dopri5`` (Dormand & Prince 1980), ``dopri8`` or ``bosh3``, or one with equal
            steps: ``euler``, ``midpoint`` or ``rk4``.
        rtol: relative tolerance of an adaptive method; at least 8 eps of the dtype is used.
        atol: absolute tolerance.
        n_steps: steps of a fixed method.
        adjoint: gradients by a second equation, solved backwards (Chen et al. 2018, sec. 2), in constant memory and
            with an error of the tolerance; otherwise through all steps.

    Raises:
        ValueError: there is no such method.
    """

    method: str = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    n_steps: int = 50
    adjoint: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"solver is {self.method!r}; choose one of {', '.join(METHODS)}")

    @property
    def is_adaptive(self) -> bool:
        """Returns whether the method chooses its steps."""
        return self.method in ADAPTIVE

    def __str__(self) -> str:
        if self.is_adaptive:
            return f"{self.method}, rtol {self.rtol:g}, atol {self.atol:g}"
        return f"{self.method}, {self.n_steps} steps"

    def solve(
        self,
        derivative: Derivative,
        state: Tensor,
        times: tuple[float, float],
        n_dims: int,
        parameters: Iterable[nn.Parameter],
    ) -> tuple[Tensor, int]:
        """Solves ``d state / dt = derivative(t, state)``.

        Args:
            derivative: the right-hand side.
            state: state at the first time, (B, N).
            times: first and last time; the last may be the smaller one.
            n_dims: number of columns of the state that are numbers of a sample; the others are integrals over time.
            parameters: parameters of ``derivative``, which get gradients.

        Returns:
            The state at the last time, (B, N), and the number of evaluations of ``derivative``.

        Raises:
            NotSolved: an adaptive method takes more than 2,000 steps, or its state is not finite.
            UserError: torchdiffeq is not installed.
        """
        torchdiffeq = require_torchdiffeq()
        evaluations = 0

        def counted(t: Tensor, state: Tensor) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            return derivative(t, state)

        def norm(values: Tensor) -> Tensor:
            values = values.view(len(state), -1)
            rms = values[:, :n_dims].square().mean(1).sqrt().max()
            integrals = values[:, n_dims:].abs()
            return torch.maximum(rms, integrals.max()) if integrals.numel() else rms

        start, end = times
        grid = torch.tensor(times, dtype=state.dtype, device=state.device)
        options: dict[str, Any] = {"norm": norm, "step_t": grid[1:].double(), "max_num_steps": MOST_STEPS}
        if not self.is_adaptive:
            steps = torch.linspace(start, end, self.n_steps + 1, dtype=state.dtype, device=state.device)
            options = {"grid_constructor": lambda function, state, t: steps}
        tolerances = {"rtol": max(self.rtol, FLOOR * torch.finfo(state.dtype).eps), "atol": self.atol}
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        try:
            if self.adjoint and torch.is_grad_enabled():
                # Gradients of parameters are not part of the error: they feed back into nothing (Kidger et al. 2021).
                solution = torchdiffeq.odeint_adjoint(
                    counted, state, grid, **tolerances, method=self.method, options=options,
                    adjoint_params=wanted, adjoint_options=self._adjoint_options(options),
                )  # fmt: skip
            else:
                solution = torchdiffeq.odeint(counted, state, grid, **tolerances, method=self.method, options=options)
        except AssertionError as error:
            _explain(error, self)
        return solution[-1], evaluations

    def _adjoint_options(self, options: dict[str, Any]) -> dict[str, Any]:
        if not self.is_adaptive:
            steps = options["grid_constructor"](None, None, None)
            return {"grid_constructor": lambda function, state, t: steps.flip(0)}
        return {"norm": "seminorm", "max_num_steps": MOST_STEPS}


def require_torchdiffeq() -> Any:
    """Returns the module torchdiffeq.

    Raises:
        UserError: it is not installed.
    """
    try:
        with torch.device("cpu"):  # its tables are tensors, made by the import, which may be in a context without data
            import torchdiffeq
    except ModuleNotFoundError as error:
        raise UserError(
            f"a continuous flow needs {error.name}: install it with pip install 'glow_app[continuous]'"
        ) from error
    return torchdiffeq


def _explain(error: AssertionError, solver: Solver) -> NoReturn:
    """Raises NotSolved for an assertion of torchdiffeq."""
    text = str(error)
    if "max_num_steps" in text:
        raise NotSolved(
            f"{solver.method} took {MOST_STEPS:,} steps and did not come to the end: the flow has become too stiff for "
            "its tolerance; give a larger model.rtol and model.atol, or train with a lower optim.lr or with "
            "model.kinetic=0.01"
        ) from error
    if "underflow" in text or "non-finite" in text:
        raise NotSolved(
            f"{solver.method} could not go on: the state of the flow is not finite, or changes without bound; train "
            "with a lower optim.lr"
        ) from error
    raise error
