FROM ollama/ollama:0.11.0
RUN apt-get update && apt-get install -y curl
HEALTHCHECK CMD curl -f http://localhost:11434/ || exit 1
