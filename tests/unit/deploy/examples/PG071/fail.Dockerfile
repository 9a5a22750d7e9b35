FROM ubuntu:20.04
RUN apt-get update && \
# below
    apt-get install -y nvidia-docker2
