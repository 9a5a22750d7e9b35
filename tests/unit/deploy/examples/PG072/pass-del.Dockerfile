FROM nvidia/cuda:11.8.0-base-ubuntu20.04
RUN apt-key del 7fa2af80 && apt-get update
