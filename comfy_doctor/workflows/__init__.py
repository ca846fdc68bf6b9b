"""What a workflow asks for: a file becomes a document, a document a graph, a graph its needs."""
