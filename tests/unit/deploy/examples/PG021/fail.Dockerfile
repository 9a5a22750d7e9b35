FROM nvidia/cuda:12.6.3-base-ubuntu24.04
# below
ENV CUDA_MEMORY_LIMIT=4096
