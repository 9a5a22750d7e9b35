ARG CUDA=12.1
# below
FROM nvidia/cuda:${CUDA}-runtime-ubuntu22.04 AS base
FROM base
