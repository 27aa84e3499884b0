"""The CPU kernels: the time loop is inside, over a block of neurons that stays in the cache.

Arrays are rows of neurons, (T, neurons) or (neurons,); an empty array means "not given". Each
kernel processes a range of neurons or of blocks of neurons, so that threads can share the work.
"""
