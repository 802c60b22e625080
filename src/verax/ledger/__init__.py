"""What numbers mean: sums, facts, readings, causes and chains. Numpy and the standard library only."""
