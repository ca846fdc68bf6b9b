"""What a model is, told from its head: tensor names, shapes and dtypes, without one weight of it. Pure rules, no IO."""
