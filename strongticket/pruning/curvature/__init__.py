"""Curvature of the loss: diagonals, per-example gradients, inverse Fisher matrices, products, small Hessians."""
