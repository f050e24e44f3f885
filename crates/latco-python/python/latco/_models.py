"""Models for the planners: what they are asked, and adapters of JAX, torch and numpy functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@runtime_checkable
class Model(Protocol):
    """What planners ask of a model: batches of rows, each on its own, as numpy arrays of `float32`.

    With `N` rows, latents of size `Z`, and actions of size `A`, each entry in [-1, 1]. Samplers (`cem`,
    `icem`, `mppi`, `random`) ask for these two methods alone. The others are for derivatives,
    where the outputs have size `O`: `Z`, or `2 Z` where the transition has standard deviations, which
    then follow the mean.

    - `transition_and_jacobian(z, a) -> (outputs [N, O], [N, O, Z], [N, O, A])`
    - `transition_vjp(z, a, cotangents [N, O]) -> ([N, Z], [N, A])` and
      `transition_jvp(z, a, dz [N, Z], da [N, A]) -> [N, O]`, in place of the Jacobian or, for latents
      larger than 64, beside it
    - `reward_and_gradient(z) -> ([N], [N, Z])`
    - `log_reward(z) -> [N]` with `log_reward_and_gradient(z)`: what the reward is made of, where that has a
      slope and the reward is flat
    - `roll_out(z [N, Z], a [N, T, A]) -> [N, T, Z]`: the mean latents after each of `T` actions, in one call
      in place of `T`; the adapters of JAX and torch have it
    - `reward_range`: the least and the largest reward, a pair of numbers
    - `action_noise`: the standard deviation of noise on actions that plans should withstand
    """

    action_size: int

    def transition(self, z: Array, a: Array) -> Array | tuple[Array, Array]:
        """`z'` `[N, Z]`, or its mean and standard deviation."""

    def reward(self, z: Array) -> Array:
        """The rewards, `[N]`."""


class _Adapter:
    """What the adapters share."""

    def __init__(
        self,
        action_size: int,
        reward_range: tuple[float, float] | None,
        action_noise: float,
    ):
        self.action_size = action_size
        self.reward_range = None if reward_range is None else [float(end) for end in reward_range]
        self.action_noise = float(action_noise)


class _JaxModel(_Adapter):
    def __init__(self, transition: Any, reward: Any, log_reward: Any, **options: Any):
        import jax
        import jax.numpy as jnp

        super().__init__(**options)

        # Of the latents' own type, whatever the functions count in: `scan` and `vjp` take no other.
        def outputs(z: Any, a: Any) -> Any:
            given = transition(z, a)
            joined = jnp.concatenate(given, -1) if isinstance(given, tuple) else given
            return joined.astype(z.dtype)

        # Each row depends on itself alone, so that a batch's Jacobian is that of one row, many times.
        def row(z: Any, a: Any) -> Any:
            return outputs(z[None], a[None])[0]

        def with_jacobian(z: Any, a: Any) -> Any:
            def one(z: Any, a: Any) -> Any:
                size = z.shape[-1]
                wide = z.shape[-1] + a.shape[-1]
                basis = jnp.eye(wide, dtype=z.dtype)
                value, push = jax.linearize(row, z, a)
                columns = jax.vmap(lambda unit: push(unit[:size], unit[size:]))(basis)
                return value, columns[:size].T, columns[size:].T

            return jax.vmap(one)(z, a)

        def with_gradient(function: Any) -> Any:
            def both(z: Any) -> Any:
                value, pull = jax.vjp(function, z)
                return value, pull(jnp.ones_like(value))[0]

            return both

        def roll_out(z: Any, a: Any) -> Any:
            def step(z: Any, a: Any) -> Any:
                given = transition(z, a)
                mean = (given[0] if isinstance(given, tuple) else given).astype(z.dtype)
                return mean, mean

            latents = jax.lax.scan(step, z, jnp.swapaxes(a, 0, 1))[1]
            return jnp.swapaxes(latents, 0, 1)

        self.roll_out = _padded(jax.jit(roll_out))
        self.transition = _padded(jax.jit(transition))
        self.reward = _padded(jax.jit(reward))
        self.transition_and_jacobian = _padded(jax.jit(with_jacobian))
        self.transition_vjp = _padded(jax.jit(lambda z, a, w: jax.vjp(outputs, z, a)[1](w)))
        self.transition_jvp = _padded(
            jax.jit(lambda z, a, dz, da: jax.jvp(outputs, (z, a), (dz, da))[1])
        )
        self.reward_and_gradient = _padded(jax.jit(with_gradient(reward)))
        if log_reward is not None:
            self.log_reward = _padded(jax.jit(log_reward))
            self.log_reward_and_gradient = _padded(jax.jit(with_gradient(log_reward)))


def _padded(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of a batch whose rows are filled up to a power of two: XLA compiles once for each number
    of rows, and planners ask for many."""

    def call(*inputs: Array) -> Any:
        rows = len(inputs[0])
        room = max(8, 1 << (rows - 1).bit_length())
        if room != rows:
            inputs = tuple(_filled(part, room) for part in inputs)
        given = function(*inputs)
        if isinstance(given, tuple):
            return tuple(np.asarray(part)[:rows] for part in given)
        return np.asarray(given)[:rows]

    return call


def _filled(part: Array, room: int) -> Array:
    """`part` with its last row again and again, up to so many."""
    filled = np.empty((room, *part.shape[1:]), part.dtype)
    filled[: len(part)] = part
    filled[len(part) :] = part[-1]
    return filled


def jax_model(
    transition: Callable[..., Any],
    reward: Callable[..., Any],
    *,
    action_size: int,
    log_reward: Callable[..., Any] | None = None,
    reward_range: tuple[float, float] | None = None,
    action_noise: float = 0.0,
) -> Model:
    """A model of two functions of JAX, which are compiled here and differentiated by `jax.vjp`,
    `jax.jvp` and `jax.linearize`.

    Args:
        transition: `(z [N, Z], a [N, A]) -> z' [N, Z]`, or the pair of mean and standard deviation; each
            row on its own.
        reward: `(z [N, Z]) -> [N]`.
        action_size: `A`.
        log_reward: `(z) -> [N]`, the logarithm of the reward's share of its range, or anything that has
            its maxima where the reward has and a slope far from them.
        reward_range: The least and the largest reward, where they are known: planners then maximise the
            reward itself.
        action_noise: The standard deviation of noise on actions that plans should withstand, for models
            that are learnt; 0.1 to 0.25 is usual.
    """
    return _JaxModel(
        transition,
        reward,
        log_reward,
        action_size=action_size,
        reward_range=reward_range,
        action_noise=action_noise,
    )


class _TorchModel(_Adapter):
    def __init__(self, transition: Any, reward: Any, log_reward: Any, device: Any, **options: Any):
        super().__init__(**options)
        self._functions = {"transition": transition, "reward": reward, "log_reward": log_reward}
        self._device = device
        if log_reward is not None:
            self.log_reward = lambda z: self._forward("log_reward", z)
            self.log_reward_and_gradient = lambda z: self._with_gradient("log_reward", z)

    def _tensors(self, inputs: tuple[Array, ...]) -> list[Any]:
        import torch

        return [torch.from_numpy(part).to(self._device) for part in inputs]

    def _forward(self, name: str, *inputs: Array) -> Any:
        import torch

        with torch.no_grad():
            return _given(self._functions[name](*self._tensors(inputs)))

    def _outputs(self, z: Any, a: Any) -> Any:
        import torch

        given = self._functions["transition"](z, a)
        return torch.cat(given, -1) if isinstance(given, tuple) else given

    def transition(self, z: Array, a: Array) -> Any:
        return self._forward("transition", z, a)

    def reward(self, z: Array) -> Any:
        return self._forward("reward", z)

    def roll_out(self, z: Array, a: Array) -> Any:
        import torch

        latent, actions = self._tensors((z, a))
        latents = []
        with torch.no_grad():
            for action in actions.unbind(1):
                given = self._functions["transition"](latent, action)
                latent = given[0] if isinstance(given, tuple) else given
                latents.append(latent)
        return _given(torch.stack(latents, 1))

    def _with_gradient(self, name: str, z: Array) -> Any:
        import torch

        value, pull = torch.func.vjp(self._functions[name], *self._tensors((z,)))[:2]
        return _given((value, pull(torch.ones_like(value))[0]))

    def reward_and_gradient(self, z: Array) -> Any:
        return self._with_gradient("reward", z)

    def transition_and_jacobian(self, z: Array, a: Array) -> Any:
        import torch

        inputs = self._tensors((z, a))
        # One pass back for each output: rows are independent, so that a unit cotangent in every row gives
        # that row of every Jacobian.
        value, pull = torch.func.vjp(self._outputs, *inputs)[:2]
        units = torch.eye(value.shape[1], device=value.device, dtype=value.dtype)
        units = units[:, None, :].expand(-1, value.shape[0], -1)
        by_latent, by_action = torch.func.vmap(pull)(units)
        return _given((value, by_latent.transpose(0, 1), by_action.transpose(0, 1)))

    def transition_vjp(self, z: Array, a: Array, cotangents: Array) -> Any:
        import torch

        at_z, at_a, weights = self._tensors((z, a, cotangents))
        return _given(torch.func.vjp(self._outputs, at_z, at_a)[1](weights))

    def transition_jvp(self, z: Array, a: Array, dz: Array, da: Array) -> Any:
        import torch

        at_z, at_a, dz, da = self._tensors((z, a, dz, da))
        return _given(torch.func.jvp(self._outputs, (at_z, at_a), (dz, da))[1])


def _given(value: Any) -> Any:
    """Tensors of torch as arrays, without a copy where they are on the CPU."""
    if isinstance(value, tuple):
        return tuple(_given(part) for part in value)
    return value.detach().cpu().numpy()


def torch_model(
    transition: Callable[..., Any],
    reward: Callable[..., Any],
    *,
    action_size: int,
    log_reward: Callable[..., Any] | None = None,
    reward_range: tuple[float, float] | None = None,
    action_noise: float = 0.0,
    device: Any = "cpu",
) -> Model:
    """A model of two functions of torch, or modules, differentiated by `torch.func`.

    The arguments are those of `jax_model`; `device` is where the functions want their tensors. Modules
    should be in `eval()` mode.
    """
    return _TorchModel(
        transition,
        reward,
        log_reward,
        device,
        action_size=action_size,
        reward_range=reward_range,
        action_noise=action_noise,
    )


class _NumpyModel(_Adapter):
    def __init__(self, transition: Any, reward: Any, log_reward: Any, step: float, **options: Any):
        super().__init__(**options)
        self.transition, self.reward, self._step = transition, reward, step
        self.reward_and_gradient = lambda z: self._with_gradient(reward, z)
        if log_reward is not None:
            self.log_reward = log_reward
            self.log_reward_and_gradient = lambda z: self._with_gradient(log_reward, z)

    def _differences(self, function: Callable[..., Any], inputs: NDArray[np.float64]) -> Any:
        """The derivatives by each input of `[N, inputs]`, `[inputs, N, …]`, from one call."""
        rows, size = inputs.shape
        moves = self._step * np.concatenate([np.eye(size), -np.eye(size)])
        moved = (inputs[None] + moves[:, None]).reshape(2 * size * rows, size)
        values = np.asarray(function(moved), dtype=np.float64)
        ahead, behind = values.reshape(2, size, rows, *values.shape[1:])
        return (ahead - behind) / (2 * self._step)

    def _with_gradient(self, function: Callable[..., Any], z: Array) -> Any:
        return function(z), self._differences(function, z.astype(np.float64)).T

    def transition_and_jacobian(self, z: Array, a: Array) -> Any:
        size = z.shape[1]

        def outputs(inputs: NDArray[Any]) -> Any:
            given = self.transition(inputs[:, :size], inputs[:, size:])
            return np.concatenate(given, -1) if isinstance(given, tuple) else given

        inputs = np.concatenate([z, a], 1)
        by_input = self._differences(outputs, inputs.astype(np.float64)).transpose(1, 2, 0)
        return outputs(inputs), by_input[..., :size], by_input[..., size:]


def numpy_model(
    transition: Callable[..., Any],
    reward: Callable[..., Any],
    *,
    action_size: int,
    log_reward: Callable[..., Any] | None = None,
    reward_range: tuple[float, float] | None = None,
    action_noise: float = 0.0,
    step: float = 1e-4,
) -> Model:
    """A model of two functions of numpy, differentiated by central differences of `step`.

    The arguments are those of `jax_model`. A derivative is one call of `2 (Z + A)` times the rows, in
    `float64`: good for small latents; give a `latco.Model` with derivatives of its own for large ones.
    """
    return _NumpyModel(
        transition,
        reward,
        log_reward,
        step,
        action_size=action_size,
        reward_range=reward_range,
        action_noise=action_noise,
    )
