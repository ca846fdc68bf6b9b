"""Which repository brings a node type: the Manager's lists, the workflow's own word, the Comfy registry."""
