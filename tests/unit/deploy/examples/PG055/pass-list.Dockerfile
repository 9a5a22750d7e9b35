FROM ollama/ollama:0.11.0
HEALTHCHECK CMD ["ollama", "list"]
