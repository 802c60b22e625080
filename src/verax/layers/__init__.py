"""Layers."""
from verax.layers.base import Input, InputLayer, InputSpec, Layer
from verax.layers.core import *
from verax.layers.convolutional import *
from verax.layers.normalization import *
from verax.layers.pooling import *
from verax.layers.regularization import *
from verax.layers.activation import *
