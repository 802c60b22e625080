"""Models: compile, fit, evaluate, predict."""
