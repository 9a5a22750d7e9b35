FROM ollama/ollama:latest
# below
ENV OLLAMA_MODELS="gemma3:4b qwen3:8b"
COPY pull.sh /pull.sh
ENTRYPOINT ["/pull.sh"]
