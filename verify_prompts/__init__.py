"""The prompts that language models are given, as versioned text. What a model may decide is decided in code."""
