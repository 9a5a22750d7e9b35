FROM debian:11
RUN curl -s https://example.com/node.gpg | apt-key add -
