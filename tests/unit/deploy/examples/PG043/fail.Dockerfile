FROM ollama/ollama:0.16.2
RUN ollama serve & \
    sleep 5 && \
    ollama pull llama3.2:1b && \
# below
    ollama pull llama3.2:4bit
