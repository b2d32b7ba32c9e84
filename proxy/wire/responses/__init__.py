"""The dialect `openai.responses`: OpenAI Responses."""
