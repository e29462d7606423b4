"""What paints bodies fast: compiled kernels with the bits of the NumPy code that they stand in for.

`native` says whether they are here. Every place that calls one has its NumPy code beside it, and
`tests/synth/painting` compares the two bit by bit.
"""
