FROM nvidia/cuda:12.6.3-base-ubuntu24.04
# below
ENV NVIDIA_MEMORY_LIMIT=4096
