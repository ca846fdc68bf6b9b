"""`comfy-doctor demo`: the whole story on a stand-in model host, with small real files, in a folder that vanishes."""
