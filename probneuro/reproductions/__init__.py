"""The papers' experiments: one module a model, found by entry points, run by `reproduce`."""
