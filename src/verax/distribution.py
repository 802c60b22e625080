"""Several devices: rows of a batch divided over them, or weights too, by Keras' names, with ``jax.sharding``."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from verax.errors import InputError, ShapeError, StateError, UnknownNameError
from verax.frame.placement import places, set_places

__all__ = [
    "DataParallel",
    "DeviceMesh",
    "Distribution",
    "LayoutMap",
    "ModelParallel",
    "TensorLayout",
    "distribute_tensor",
    "distribution",
    "get_device_count",
    "initialize",
    "list_devices",
    "set_distribution",
]


def list_devices(device_type: str | None = None) -> list[str]:
    """The devices of a kind, as ``"gpu:0"``.

    Args:
        device_type: ``"cpu"``, ``"gpu"`` or ``"tpu"``; the fastest kind there is when None.

    >>> list_devices("cpu")[0]
    'cpu:0'
    """
    found = jax.devices(device_type.lower() if device_type else None)
    return [f"{_kind(device)}:{device.id}" for device in found]


def get_device_count(device_type: str | None = None) -> int:
    """How many devices of a kind there are; see ``list_devices``."""
    return len(list_devices(device_type))


def initialize(
    job_addresses: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Make this process one of several that see each other's devices (``jax.distributed``).

    Each argument may come from the environment instead: KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES, _PROCESS_ID.
    It must be the first thing that touches a device. ``fit`` divides work over the devices of one process only.

    Args:
        job_addresses: The address of process 0, ``"10.0.0.1:1234"``; of a list of all, the first.
        num_processes: How many there are.
        process_id: Which one this is, from 0.
    """
    said = os.environ.get
    job_addresses = job_addresses or said("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    if num_processes is None and said("KERAS_DISTRIBUTION_NUM_PROCESSES"):
        num_processes = int(os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"])
    if process_id is None and said("KERAS_DISTRIBUTION_PROCESS_ID"):
        process_id = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
    jax.distributed.initialize(
        job_addresses.split(",")[0] if job_addresses else None, num_processes=num_processes, process_id=process_id
    )


class DeviceMesh:
    """Devices in a grid with named axes.

    Args:
        shape: The size of each axis.
        axis_names: Their names.
        devices: The devices, by the names of ``list_devices``; all of the default kind when None.

    Raises:
        ShapeError: As many names as sizes, or as many devices as places, are not given.

    >>> DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
    <DeviceMesh batch=1, model=1: cpu:0>
    """

    def __init__(self, shape: Sequence[int], axis_names: Sequence[str], devices: Any = None):
        self.shape = tuple(shape)
        self.axis_names = tuple(axis_names)
        given = list_devices() if devices is None else np.asarray(devices).reshape(-1).tolist()
        asked = "A DeviceMesh puts devices into a grid."
        if len(self.shape) != len(self.axis_names) or not self.shape:
            received = f"shape={self.shape}, axis_names={self.axis_names}"
            raise ShapeError(asked, received=received, because="each axis has a size and a name")
        if int(np.prod(self.shape)) != len(given):
            raise ShapeError(
                asked,
                received=f"shape={self.shape} and {len(given)} devices",
                because=f"the grid has {int(np.prod(self.shape))} places",
                do="Give as many devices as the product of shape.",
            )
        self.devices = np.array(given, dtype=object).reshape(self.shape)
        self.backend_mesh = Mesh(np.array([_device(name) for name in given]).reshape(self.shape), self.axis_names)

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}={size}" for name, size in zip(self.axis_names, self.shape, strict=True))
        return f"<{type(self).__name__} {axes}: {', '.join(self.devices.reshape(-1))}>"


class TensorLayout:
    """For each axis of an array, the axis of the mesh it is divided over; None: it is whole on every device.

    Args:
        axes: A name or None for each axis.
        device_mesh: The mesh; a ``LayoutMap`` fills it in.

    Raises:
        UnknownNameError: For a name the mesh has not.
    """

    def __init__(self, axes: Sequence[str | None], device_mesh: DeviceMesh | None = None):
        self.axes = tuple(axes)
        self.device_mesh = device_mesh
        self._check()

    @property
    def backend_layout(self) -> NamedSharding:
        """The layout as jax has it."""
        if self.device_mesh is None:
            raise StateError(
                f"The layout {self.axes} was used.",
                because="it has no mesh",
                do="Pass device_mesh or use a LayoutMap.",
            )
        return NamedSharding(self.device_mesh.backend_mesh, PartitionSpec(*self.axes))

    def _check(self) -> None:
        for name in self.axes:
            if name is not None and self.device_mesh is not None and name not in self.device_mesh.axis_names:
                raise UnknownNameError.among("axis of the mesh", name, self.device_mesh.axis_names)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.axes} on {self.device_mesh}>"


class LayoutMap(MutableMapping[str, TensorLayout]):
    """Paths of variables -> their layouts: keys are paths, or patterns that match a whole path.

    Args:
        device_mesh: The mesh of all of them.

    Looking up a path that no key matches gives None.

    Raises:
        InputError: A key that is there already; a path that several patterns match; a pattern for a layer's output.

    Differs from Keras: outputs of layers are laid out by the compiler, so keys ending in ``output`` are refused.

    >>> layouts = LayoutMap(DeviceMesh((1,), ["model"], ["cpu:0"]))
    >>> layouts["dense.*/kernel"] = (None, "model")
    >>> layouts["dense_1/kernel"].axes, layouts["dense_1/bias"]
    ((None, 'model'), None)
    """

    def __init__(self, device_mesh: DeviceMesh):
        self.device_mesh = device_mesh
        self._layouts: dict[str, TensorLayout] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self._layouts:
            return self._layouts[key]
        found = [pattern for pattern in self._layouts if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise InputError(
                f"A LayoutMap was asked for {key!r}.",
                received=f"{len(found)} patterns that match: {found}",
                because="a variable has one layout",
                do="Make the patterns narrower.",
            )
        return self._layouts[found[0]] if found else None

    def __setitem__(self, key: str, layout: Any) -> None:
        asked = f"A LayoutMap was given a layout for {key!r}."
        if key in self._layouts:
            raise InputError(asked, because="it has one for it", do="Delete that one first.")
        if key.rstrip("$)*.").endswith("output"):
            because = "outputs of layers are laid out by the compiler"
            raise InputError(asked, because=because, do="Give layouts of variables: their paths end in their names.")
        if isinstance(layout, (tuple, list)):
            layout = TensorLayout(tuple(layout))
        if not isinstance(layout, TensorLayout):
            raise InputError(asked, received=repr(layout), do="Pass a TensorLayout, or a tuple of axis names and None.")
        self._layouts[key] = TensorLayout(layout.axes, layout.device_mesh or self.device_mesh)

    def __delitem__(self, key: str) -> None:
        del self._layouts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __len__(self) -> int:
        return len(self._layouts)


class Distribution:
    """Base of the ways to use several devices.

    Args:
        device_mesh: The devices.
        batch_dim_name: The axis of the mesh over which the rows of a batch are divided.
        auto_shard_dataset: Keras' switch for several processes; there is one here, and nothing to divide before it.
    """

    def __init__(self, device_mesh: DeviceMesh, batch_dim_name: str | None = None, auto_shard_dataset: bool = True):
        self.device_mesh = device_mesh
        self.batch_dim_name = batch_dim_name or device_mesh.axis_names[0]
        if self.batch_dim_name not in device_mesh.axis_names:
            raise UnknownNameError.among("axis of the mesh", self.batch_dim_name, device_mesh.axis_names)
        self.auto_shard_dataset = auto_shard_dataset

    @property
    def num_model_replicas(self) -> int:
        """Over how many places the rows of a batch are divided."""
        return self.device_mesh.shape[self.device_mesh.axis_names.index(self.batch_dim_name)]

    def get_data_layout(self, data_shape: Sequence[int | None]) -> TensorLayout:
        """The layout of a batch of rows."""
        return TensorLayout([self.batch_dim_name, *[None] * (len(data_shape) - 1)], self.device_mesh)

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        """The layout of a variable."""
        return TensorLayout([None] * len(variable.shape), self.device_mesh)

    @contextmanager
    def scope(self) -> Generator[None]:
        """Within ``with it.scope():`` it is set."""
        before = distribution()
        set_distribution(self)
        try:
            yield
        finally:
            set_distribution(before)

    # ---- for the frame -------------------------------------------------------------------------------------------

    def of_rows(self, shape: tuple[int, ...]) -> NamedSharding | None:
        """The rows' sharding; None where they do not divide evenly (a short last batch), or there are none."""
        if not shape or shape[0] % self.num_model_replicas:
            return None
        return self.get_data_layout(shape).backend_layout

    def of_value(self, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """A variable's sharding."""
        return self.everywhere()

    def everywhere(self) -> NamedSharding:
        """A copy on each device."""
        return NamedSharding(self.device_mesh.backend_mesh, PartitionSpec())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.device_mesh}>"


class DataParallel(Distribution):
    """Every device has all weights and a part of each batch; gradients are those of the whole batch.

    Args:
        device_mesh: The devices; rows are divided over its first axis.
        devices: Names of devices instead; all of the default kind when both are None.
        auto_shard_dataset: See ``Distribution``.

    Numbers are those of one device, but for rounding; batch normalization sees the whole batch. A batch that does not
    divide evenly is computed whole on each device. Rows that are held on the device are held on each.

    >>> with DataParallel(devices=["cpu:0"]).scope():
    ...     distribution().num_model_replicas
    1
    """

    def __init__(self, device_mesh: DeviceMesh | None = None, devices: Any = None, auto_shard_dataset: bool = True):
        if device_mesh is None:
            names = list_devices() if devices is None else list(np.asarray(devices).reshape(-1))
            device_mesh = DeviceMesh((len(names),), ["batch"], names)
        super().__init__(device_mesh, None, auto_shard_dataset)


class ModelParallel(Distribution):
    """Weights are divided over devices by a ``LayoutMap``, and batches over one axis of the mesh.

    Args:
        layout_map: Where variables are; one that no key matches begins whole on every device.
        batch_dim_name: The axis over which rows are divided; the mesh's first when None.
        auto_shard_dataset: See ``Distribution``.
    """

    def __init__(self, *, layout_map: LayoutMap, batch_dim_name: str | None = None, auto_shard_dataset: bool = True):
        if not isinstance(layout_map, LayoutMap):
            raise InputError(
                "ModelParallel divides weights by layout_map.", received=repr(layout_map), do="Pass a LayoutMap."
            )
        super().__init__(layout_map.device_mesh, batch_dim_name, auto_shard_dataset)
        self.layout_map = layout_map

    def get_variable_layout(self, variable: Any) -> TensorLayout:
        """The layout of a variable, by its path."""
        found = self.layout_map[variable.path]
        return super().get_variable_layout(variable) if found is None else found

    def of_value(self, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """A variable's sharding, by its path."""
        found = self.layout_map[path]
        return self.everywhere() if found is None else found.backend_layout


def distribution() -> Distribution | None:
    """The distribution that is set; None: one device."""
    found = places()
    return found if isinstance(found, Distribution) else None


def set_distribution(value: Distribution | None) -> None:
    """Let ``fit``, ``evaluate`` and ``predict`` use the devices of a distribution from now on; None: one device.

    Raises:
        StateError: In one of several processes: rows are divided over the devices of one.
    """
    if value is not None and jax.process_count() > 1:
        raise StateError(
            f"{value!r} was to be used.",
            received=f"{jax.process_count()} processes",
            because="rows are divided over the devices of one process",
            do="Use one process with all devices of a machine.",
        )
    set_places(value)


def distribute_tensor(tensor: Any, layout: TensorLayout | NamedSharding) -> jax.Array:
    """``tensor`` laid out over devices.

    Args:
        tensor: An array.
        layout: A ``TensorLayout``, or a sharding of jax's.
    """
    where = layout.backend_layout if isinstance(layout, TensorLayout) else layout
    if isinstance(tensor, Tracer):
        return jax.lax.with_sharding_constraint(tensor, where)
    return jax.device_put(tensor, where)


def _kind(device: Any) -> str:
    return "gpu" if device.platform in ("cuda", "rocm") else str(device.platform)


def _device(name: Any) -> Any:
    if not isinstance(name, str):
        return name
    kind, _, number = name.partition(":")
    for device in jax.devices(kind):
        if device.id == int(number or 0):
            return device
    raise UnknownNameError.among("device", name, list_devices(kind))
