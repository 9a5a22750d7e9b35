"""The sample papers: product returns, a returns policy and a manual, drawn from the small data beside the code.

May import: nothing of ours. Start reading: draw.py (draw_samples), knowledge.py (knowledge_files, QUESTIONS), returns.yaml.
"""
