FROM ollama/ollama:0.11.0
# below
HEALTHCHECK --interval=30s CMD curl -f http://localhost:11434/ || exit 1
