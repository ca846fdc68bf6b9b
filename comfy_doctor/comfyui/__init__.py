"""One ComfyUI install on this disk: where it is, where its model folders are, what lies in them."""
