FROM ubuntu:20.04
# below
RUN curl -sL https://example.com/nvidia-docker/ubuntu20.04/nvidia-docker.list > /etc/apt/sources.list.d/nvidia-docker.list
