"""The consulting room: reads ComfyUI workflows and installs, finds what is missing or broken, and asks for work."""
