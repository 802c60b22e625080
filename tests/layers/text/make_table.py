"""Computes the table with Keras' own layers, where TensorFlow is: ``python -m tests.layers.text.make_table``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from tests.layers.text.rows import ROWS, Row

__all__ = ["TABLE"]

TABLE = Path(__file__).with_name("table.json")


def _plain(values):
    array = values.numpy() if hasattr(values, "numpy") else np.asarray(values)
    if array.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(array).tolist()
    return array.tolist()


def _computed(row: Row, keras) -> dict:
    layer = getattr(keras.layers, row.layer)(**row.arguments)
    if row.adapt is not None:
        layer.adapt((np.array(b) for b in row.adapt) if row.batches else np.array(row.adapt))
    made = {"output": _plain(layer([np.array(c) for c in row.inputs] if row.columns else np.array(row.inputs)))}
    if hasattr(layer, "get_vocabulary"):
        made["vocabulary"] = [str(t) if isinstance(t, str) else int(t) for t in layer.get_vocabulary()]
    if row.layer == "Discretization":
        made["boundaries"] = layer.bin_boundaries
    if row.adapt is None or row.layer == "Discretization":  # a learned vocabulary is not in Keras' configuration
        made["config"] = keras.saving.serialize_keras_object(layer)["config"]
    return made


def _main() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow

    by = f"TensorFlow {tensorflow.__version__}, Keras {keras.__version__}"
    rows = ",\n".join(f"{json.dumps(r.name)}: {json.dumps(_computed(r, keras), ensure_ascii=False)}" for r in ROWS)
    TABLE.write_text(f'{{\n"computed by": "{by}",\n{rows}\n}}\n')


if __name__ == "__main__":
    _main()
