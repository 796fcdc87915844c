"""``trainer.cuda_graph``: a training step, recorded once and then launched as one, and its update as another.

A step of a deep Glow is thousands of small kernels, and a GPU may wait longer for their launches than for their work. A
CUDA graph launches the same kernels again on the same addresses, in one call: what changes from step to step, the batch
and the learning rate, is copied to where they read it. What is computed from parameters and kept (``flows.cache``)
notices a recorded update as it notices any other.
"""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* is how torch's own optimizers handle all parameters in a few launches; it has no public name.

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim.adam import adam

from glow_app.data.sampler import Batch
from glow_app.errors import UserError
from glow_app.flows.convolutions import laid_out

T = TypeVar("T")

WARM_UP = 3
"""Runs before the recording, in which libraries choose algorithms and constants are made."""


class _Recording(NamedTuple):
    """Of a loss.

    Attributes:
        place: where it reads its batch.
        replay: computes ``loss`` and ``gradients`` again.
        loss: a scalar.
        gradients: of the parameters.
        factor: a scalar, by which ``scale`` multiplies the gradients in place.
        scale: see ``factor``.
    """

    place: Batch
    replay: Callable[[], None]
    loss: Tensor
    gradients: list[Tensor]
    factor: Tensor
    scale: Callable[[], None]


class RecordedLoss:
    """A loss whose gradients with respect to parameters are those of a recording, made with the first batch.

    ``backward()`` adds them to the parameters' ``grad``; ``torch.autograd.grad`` knows nothing of them. Everything in
    between is recorded with them, so it must not look at a value, and all batches are of one size. A ``grad`` that was
    None lies in the same place after each ``backward()``: :class:`RecordedAdam` asks for that.

    Args:
        loss: the scalar to record, in training mode.
        parameters: what it is differentiated by; all of them count in it.
    """

    def __init__(self, loss: Callable[[Batch], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        self._loss = loss
        self._parameters = list(parameters)
        self._recording: _Recording | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of a batch. To be differentiated before that of the next one is asked for.

        Raises:
            UserError: the step does something that cannot be recorded.
        """
        if self._recording is None:
            self._recording = self._record(batch)
        recording = self._recording
        for mine, given in zip(recording.place, batch, strict=True):
            if mine is not None and given is not None:
                assert mine.shape == given.shape, "a recorded step takes batches of one size"
                mine.copy_(given)
        if self._parameters[0].grad is recording.gradients[0]:
            # Those of an earlier batch of the same update: the replay is about to overwrite them.
            kept = [torch.empty_like(gradient) for gradient in recording.gradients]
            torch._foreach_copy_(kept, recording.gradients)
            _give(self._parameters, kept)
        recording.replay()
        start = torch.zeros((), device=recording.loss.device, requires_grad=True)
        return cast(Tensor, _Replayed.apply(start, recording, self._parameters))

    def drop(self) -> None:
        """Frees the recording, with the memory of all activations and gradients."""
        self._recording = None
        _give(self._parameters, [None] * len(self._parameters))

    def _record(self, batch: Batch) -> _Recording:
        place = Batch(*(None if part is None else part.clone() for part in batch))  # type: ignore[arg-type]
        replay, (loss, *gradients) = record(lambda: self._loss_and_gradients(place), WARM_UP)
        factor = torch.ones_like(loss)
        scale, _ = record(lambda: torch._foreach_mul_(gradients, factor), WARM_UP)
        return _Recording(place, replay, loss, gradients, factor, scale)

    def _loss_and_gradients(self, batch: Batch) -> tuple[Tensor, ...]:
        loss = self._loss(batch)
        gradients = torch.autograd.grad(loss, self._parameters)
        # As autograd does where it keeps them: an optimizer takes what lies in the same place for the same weight's.
        return loss.detach(), *(laid_out(g, p) for g, p in zip(gradients, self._parameters, strict=True))


class _Replayed(torch.autograd.Function):
    """A loss that has been computed together with its gradients.

    They are added here, all at once: as inputs of the graph, a thousand parameters would be a thousand nodes of it, for
    which a GPU that has its whole step in one launch would wait.
    """

    @staticmethod
    def forward(ctx: Any, start: Tensor, recording: _Recording, parameters: list[nn.Parameter]) -> Tensor:
        ctx.recording, ctx.parameters = recording, parameters
        return recording.loss.clone()  # the next replay overwrites it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:  # type: ignore[override]
        recording, parameters = ctx.recording, ctx.parameters
        recording.factor.copy_(grad)
        recording.scale()
        if parameters[0].grad is None:
            _give(parameters, recording.gradients)
        else:
            torch._foreach_add_([parameter.grad for parameter in parameters], recording.gradients)
        return None, None, None


class RecordedAdam(torch.optim.Adam):
    """Adam whose update is recorded as soon as gradients lie twice in the same places, and from then on is one launch.

    The same operations as of ``torch.optim.Adam(fused=True)``, with the learning rate as a number on the device, in
    float32. All other options are those of the recording.

    Args:
        params: parameters, which get gradients all or none; without gradients nothing is updated.
        lr: learning rate.
        betas: (beta1, beta2).

    Attributes:
        found_inf: a number on the device, torch's name for it: where it is 1, ``step`` changes nothing.
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
            super().step()  # makes the averages, too
            return loss
        gradients = [parameter.grad for parameter in parameters]
        in_place = len(gradients) == len(self._gradients) and all(map(_same, gradients, self._gradients))
        if self._rate is None:
            self._rate = torch.empty((), device=parameters[0].device)
        self._rate.fill_(self.param_groups[0]["lr"])
        if in_place and self._replay is not None:
            self._replay()
            return loss
        self._update(self._rate)
        self._gradients, self._replay = gradients, None
        if in_place:
            rate = self._rate
            self._replay, _ = record(lambda: self._update(rate), warm_up=0)  # just done
        return loss

    def load_state_dict(self, state_dict: Any) -> None:
        self.drop()
        super().load_state_dict(state_dict)

    def drop(self) -> None:
        """Frees the recording."""
        self._gradients, self._replay = [], None

    def _update(self, rate: Tensor) -> None:
        group = self.param_groups[0]
        parameters: Sequence[nn.Parameter] = group["params"]
        of_all = [self.state[parameter] for parameter in parameters]
        adam(
            cast(list[Tensor], parameters),
            [cast(Tensor, parameter.grad) for parameter in parameters],
            *([state[name] for state in of_all] for name in ("exp_avg", "exp_avg_sq")),
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in of_all],
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


def _same(a: object, b: object) -> bool:
    return a is b


def _give(parameters: Iterable[nn.Parameter], gradients: Iterable[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def record(compute: Callable[[], T], warm_up: int) -> tuple[Callable[[], None], T]:
    """Records what ``compute`` launches on the GPU.

    Args:
        compute: what to record.
        warm_up: how often it is to run before.

    Returns:
        a function that launches it again, and the tensors that then hold the results.

    Raises:
        UserError: ``compute`` does something that cannot be recorded, such as to wait for a value.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_up):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        # Only this thread is held to the rules of a recording: the loader's own may pin memory meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            results = compute()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"trainer.cuda_graph: the step cannot be recorded ({reason}); set it to false") from error
    return graph.replay, results
