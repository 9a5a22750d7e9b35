# below
FROM docker.io/nvidia/cuda:latest
