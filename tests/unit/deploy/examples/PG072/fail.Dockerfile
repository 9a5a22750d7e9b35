FROM nvidia/cuda:12.6.3-base-ubuntu22.04
# below
RUN apt-key adv --fetch-keys https://example.com/cuda.pub
