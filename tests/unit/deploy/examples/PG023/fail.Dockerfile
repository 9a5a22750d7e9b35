FROM ollama/ollama:0.11.0
ENV OLLAMA_HOST=0.0.0.0 \
# below
    OLLAMA_GPU_LAYERS=35
