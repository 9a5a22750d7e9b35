FROM nvidia/cuda:12.6.3-base-ubuntu20.04
# below
RUN apt-key adv --fetch-keys https://example.com/one.pub \
    && apt-key adv --fetch-keys https://example.com/two.pub
