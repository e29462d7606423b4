"""The network in plain JAX: the same weights, the same names, the same answers as `osler.model`.

Pure functions over trees of arrays, one file for each file of `osler.model`,
and beside them the cache and the runner that `osler.engine` drives. Importing
`osler` does not import jax; this folder does.
"""
