"""Layers of text and of whole numbers against a table that Keras' own layers, which need TensorFlow, have computed."""
