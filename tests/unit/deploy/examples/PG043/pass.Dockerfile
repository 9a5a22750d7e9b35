FROM ollama/ollama:0.16.2
ARG CHAT_MODEL
RUN ollama serve & sleep 5 && ollama pull llama3.2:3b-instruct-q4_K_M && ollama pull ${CHAT_MODEL} && ollama pull own/model:4bit
