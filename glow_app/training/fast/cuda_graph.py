"""``trainer.cuda_graph``: forward, backward and Adam's update of a training step, captured once, then a launch each.

A step of a deep Glow is thousands of small kernels, and a GPU may wait longer for their launches than for their work. A
CUDA graph launches the same kernels again on the same addresses, in one call: what changes from step to step, the batch
and the learning rate, is copied to these addresses. A captured update does not increase torch's version counters of
parameters: values cached from them (``flows.cache``) must not outlive the evaluation that needed them, and do not.
"""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* is how torch's own optimizers handle all parameters in a few launches; it has no public name.

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim.adam import adam

from glow_app.data.stream import Batch
from glow_app.errors import UserError
from glow_app.flows.fast.convolutions import in_memory_format_of

T = TypeVar("T")

WARM_UP = 3
"""Number of runs before the capture, in which libraries choose algorithms and constants are created."""


class _Graphs(NamedTuple):
    """The two graphs of a loss and of its gradients, with the tensors that they read and write.

    Attributes:
        inputs: batch that the graphs read.
        forward: function that computes ``loss`` again.
        loss: loss, a scalar.
        factor: scalar by which the loss is multiplied before it is differentiated.
        backward: function that computes ``gradients`` again.
        gradients: gradients of the parameters.
        sums: sums of the gradients of several batches; empty until they are needed.
    """

    inputs: Batch
    forward: Callable[[], None]
    loss: Tensor
    factor: Tensor
    backward: Callable[[], None]
    gradients: Sequence[Tensor]
    sums: list[Tensor]


class CapturedLoss:
    """A loss whose gradients are computed by a CUDA graph, captured with the first batch.

    ``backward()`` adds them to the parameters' ``grad``; ``torch.autograd.grad`` does not see them. Everything in
    between is captured with them, so it must not read a value on the host, and all batches have one size. A ``grad``
    that was None has the same address after each ``backward()``, as :class:`CapturedAdam` requires.

    Args:
        loss: scalar to capture, in training mode.
        parameters: parameters of the gradients; the loss depends on all of them.
    """

    def __init__(self, loss: Callable[[Batch], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        self._loss = loss
        self._parameters = list(parameters)
        self._graphs: _Graphs | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of a batch, which must be differentiated before the next call.

        Raises:
            UserError: the step does something that cannot be captured.
        """
        if self._graphs is None:
            self._graphs = self._capture(batch)
        captured = self._graphs
        for mine, given in zip(captured.inputs, batch, strict=True):
            if mine is not None and given is not None:
                assert mine.shape == given.shape, "a captured step takes batches of one size"
                mine.copy_(given)
        captured.forward()
        start = torch.zeros((), device=captured.loss.device, requires_grad=True)
        return cast(Tensor, _Replayed.apply(start, captured, self._parameters))

    def drop(self) -> None:
        """Frees the graph and the memory of all activations and gradients."""
        self._graphs = None
        _set_gradients(self._parameters, [None] * len(self._parameters))

    def _capture(self, batch: Batch) -> _Graphs:
        inputs = Batch(*(None if part is None else part.clone() for part in batch))  # type: ignore[arg-type]
        factor = torch.ones((), device=self._parameters[0].device)
        live: list[Tensor] = []

        def forward() -> tuple[Tensor, ...]:
            live[:] = [self._loss(inputs)]
            return (live[0].detach(),)

        def backward() -> tuple[Tensor, ...]:
            gradients = torch.autograd.grad(live.pop(), self._parameters, factor)
            # In the memory format of autograd's own ``grad``: fused optimizers match elements by their offset.
            return tuple(in_memory_format_of(g, p) for g, p in zip(gradients, self._parameters, strict=True))

        (replay_forward, (loss,)), (replay_backward, gradients) = capture([forward, backward], WARM_UP)
        return _Graphs(inputs, replay_forward, loss, factor, replay_backward, gradients, sums=[])


class _Replayed(torch.autograd.Function):
    """A loss whose gradients are added all at once.

    With the parameters as inputs, autograd would visit a thousand nodes, while a GPU whose whole step is two launches
    waits.
    """

    @staticmethod
    def forward(ctx: Any, start: Tensor, captured: _Graphs, parameters: list[nn.Parameter]) -> Tensor:
        ctx.captured, ctx.parameters = captured, parameters
        return captured.loss.clone()  # the next replay overwrites it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:  # type: ignore[override]
        captured, parameters = ctx.captured, ctx.parameters
        if parameters[0].grad is captured.gradients[0]:
            # Gradients of an earlier batch of the same update, which the replay is about to overwrite.
            captured.sums[:] = captured.sums or [torch.empty_like(gradient) for gradient in captured.gradients]
            torch._foreach_copy_(captured.sums, captured.gradients)
            _set_gradients(parameters, captured.sums)
        captured.factor.copy_(grad)
        captured.backward()
        if parameters[0].grad is None:
            _set_gradients(parameters, captured.gradients)
        else:
            torch._foreach_add_([parameter.grad for parameter in parameters], captured.gradients)
        return None, None, None


class CapturedAdam(torch.optim.Adam):
    """Adam whose update is captured once gradients have the same addresses twice, and is one launch from then on.

    It has the operations of ``torch.optim.Adam(fused=True)``, with the learning rate as a float32 scalar on the device.
    All other options are those of the capture.

    Args:
        params: parameters, of which all or none have gradients; without gradients nothing is updated.
        lr: learning rate.
        betas: (beta1, beta2).

    Attributes:
        found_inf: scalar on the device, under torch's name: if it is 1, ``step`` changes nothing.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, betas: tuple[float, float]) -> None:
        params = list(params)
        super().__init__(params, lr=lr, betas=betas, fused=True)
        self.found_inf = torch.zeros((), device=params[0].device)
        self._gradients: list[Tensor | None] = []
        self._replay: Callable[[], None] | None = None
        self._rate: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        parameters = self.param_groups[0]["params"]
        if parameters[0].grad is None:
            return loss
        if not self.state:
            super().step()  # creates the averages, too
            return loss
        gradients = [parameter.grad for parameter in parameters]
        same_addresses = len(gradients) == len(self._gradients) and all(map(operator.is_, gradients, self._gradients))
        if self._rate is None:
            self._rate = torch.empty((), device=parameters[0].device)
        self._rate.fill_(self.param_groups[0]["lr"])
        if same_addresses and self._replay is not None:
            self._replay()
            return loss
        self._update(self._rate)
        self._gradients, self._replay = gradients, None
        if same_addresses:
            rate = self._rate
            ((self._replay, _),) = capture([lambda: self._update(rate)], warm_up=0)  # it has just run
        return loss

    def load_state_dict(self, state_dict: Any) -> None:
        self.drop()
        super().load_state_dict(state_dict)

    def drop(self) -> None:
        """Frees the graph."""
        self._gradients, self._replay = [], None

    def _update(self, rate: Tensor) -> None:
        group = self.param_groups[0]
        parameters: Sequence[nn.Parameter] = group["params"]
        states = [self.state[parameter] for parameter in parameters]
        adam(
            cast(list[Tensor], parameters),
            [cast(Tensor, parameter.grad) for parameter in parameters],
            *([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq")),
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in states],
            fused=True,
            capturable=True,
            found_inf=self.found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=rate,
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )


def _set_gradients(parameters: Iterable[nn.Parameter], gradients: Iterable[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def capture(computes: Sequence[Callable[[], T]], warm_up: int) -> list[tuple[Callable[[], None], T]]:
    """Captures the work that ``computes`` launch on the GPU.

    Args:
        computes: functions to capture, in the order in which they will be launched.
        warm_up: number of runs of all of them before the capture.

    Returns:
        for each, a function that launches it again, and the tensors that then hold the results.

    Raises:
        UserError: something cannot be captured, such as waiting for a value.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_up):
            for compute in computes:
                compute()
    torch.cuda.current_stream().wait_stream(stream)
    pool = torch.cuda.graph_pool_handle()  # shared: one graph reads the results of another
    captured = []
    try:
        for compute in computes:
            graph = torch.cuda.CUDAGraph()
            # Only this thread must obey the rules of a capture: the loader's thread may pin memory meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                results = compute()
            captured.append((graph.replay, results))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"trainer.cuda_graph: the step cannot be captured ({reason}); set it to false") from error
    return captured
