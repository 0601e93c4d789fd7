"""The page of `strf_cuda.visualize report`: what it shows, the pictures in it, and how it is written."""
