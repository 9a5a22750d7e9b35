FROM ubuntu:24.04
# nvidia-docker2 is retired
RUN apt-get update && apt-get install -y nvidia-container-toolkit
