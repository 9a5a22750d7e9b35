FROM nvidia/cuda:12.6.3-base-ubuntu22.04
RUN curl -fsSL https://example.com/key.gpg -o /usr/share/keyrings/cuda.gpg
