"""One function under everything: observe, its training step, and the loop that folds them."""
