"""What is on this disk: digests of files, and links between equal ones."""
