"""``trainer.cuda_graph``: loss and gradients of a training step, recorded once and then launched as one.

A step of a deep Glow is thousands of small kernels, and a GPU may wait longer for their launches than for their work. A
CUDA graph launches the same kernels again on the same addresses, in one call: what changes from step to step, the
batch, is copied to where they read it. The update stays outside, an ordinary change of the parameters in place: what is
computed from them and kept (``flows.cache``) notices it.
"""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* is how torch's own optimizers handle all parameters in a few launches; it has no public name.

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from glow_app.data.sampler import Batch
from glow_app.errors import UserError
from glow_app.flows.convolutions import laid_out
from glow_app.training.optim import largest_first

T = TypeVar("T")

WARM_UP = 3
"""Runs before the recording, in which libraries choose algorithms and constants are made."""


class RecordedLoss:
    """A loss whose gradients with respect to parameters are those of a recording, made with the first batch.

    ``backward()`` adds them to the parameters' ``grad``; ``torch.autograd.grad`` knows nothing of them. Everything in
    between is recorded with them, so it must not look at a value, and all batches are of one size.

    Args:
        loss: the scalar to record, in training mode.
        parameters: what it is differentiated by; all of them count in it.
    """

    def __init__(self, loss: Callable[[Batch], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        self._loss = loss
        self._parameters = largest_first(parameters)
        self._recording: tuple[Batch, Callable[[], None], tuple[Tensor, ...]] | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of a batch. To be differentiated before that of the next one is asked for.

        Raises:
            UserError: the step does something that cannot be recorded.
        """
        if self._recording is None:
            place = Batch(*(None if part is None else part.clone() for part in batch))  # type: ignore[arg-type]
            self._recording = (place, *record(lambda: self._loss_and_gradients(place)))
        place, replay, (loss, *gradients) = self._recording
        for mine, given in zip(place, batch, strict=True):
            if mine is not None and given is not None:
                assert mine.shape == given.shape, "a recorded step takes batches of one size"
                mine.copy_(given)
        replay()
        start = torch.zeros((), device=loss.device, requires_grad=True)
        return cast(Tensor, _Replayed.apply(start, loss, gradients, self._parameters))

    def drop(self) -> None:
        """Frees the recording, with the memory of all activations."""
        self._recording = None

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
    def forward(
        ctx: Any, start: Tensor, loss: Tensor, gradients: list[Tensor], parameters: list[nn.Parameter]
    ) -> Tensor:
        ctx.gradients, ctx.parameters = gradients, parameters
        return loss.clone()  # the next replay overwrites it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:  # type: ignore[override]
        # New tensors, which no replay overwrites.
        new = torch._foreach_mul(ctx.gradients, grad)
        pairs = list(zip(ctx.parameters, new, strict=True))
        if old := [(parameter.grad, gradient) for parameter, gradient in pairs if parameter.grad is not None]:
            torch._foreach_add_(*map(list, zip(*old, strict=True)))
        for parameter, gradient in pairs:
            if parameter.grad is None:
                parameter.grad = gradient
        return None, None, None, None


def record(compute: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """Records what ``compute`` launches on the GPU.

    Returns:
        a function that launches it again, and the tensors that then hold the results.

    Raises:
        UserError: ``compute`` does something that cannot be recorded, such as to wait for a value.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
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
