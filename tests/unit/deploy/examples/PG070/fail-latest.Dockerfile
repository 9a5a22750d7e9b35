# below
FROM registry.example.com/nvidia/cuda:latest
