"""The operator's kernels in Triton, the sizes of their blocks, and the order in which they are launched."""
